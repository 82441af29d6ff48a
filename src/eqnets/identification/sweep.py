"""Many fits of the same records: the grid of what to try, one trial with its files, and the table of all.

A trial is a folder that holds its model and, once it is complete, `trial.json`; while it runs, its checkpoints. What is
complete is never done again, and what was interrupted goes on where it stood, so that a sweep is resumed by starting it
once more, by whichever engine runs the trials. The table is ordered by the validation error: no test data is seen here.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eqnets.errors import DataError, EqnetsError
from eqnets.identification.data import Data
from eqnets.identification.files.checkpoint import Checkpoint
from eqnets.identification.files.whole import write_bytes
from eqnets.identification.guarantee import Promise
from eqnets.identification.identify import identify
from eqnets.identification.kinds import KINDS, settle
from eqnets.identification.progress import Progress

DONE = "trial.json"


@dataclass(frozen=True)
class Trial:
    """One choice of what `identify` leaves open.

    Args:
        model: a key of `kinds.KINDS`.
        guarantee: what the model promises.
        words: the guarantee as it was asked for, which names the folder.
        nx: the number of states; None lets validation choose.
        nv: the number of neurons; None takes the default.
        activation: of a REN; None takes the default.
        learning_rate: None takes the default.
        seed: of every random choice.
    """

    model: str
    guarantee: Promise
    words: str
    nx: int | None
    nv: int | None
    activation: str | None
    learning_rate: float | None
    seed: int

    @property
    def name(self) -> str:
        """The folder's name."""
        given = [(k, getattr(self, k)) for k in ("nx", "nv", "activation", "learning_rate")]
        parts = [self.model, self.words, *(f"{k}={v}" for k, v in given if v is not None), f"seed={self.seed}"]
        return "_".join(part.replace(":", "=").replace("/", "-") for part in parts)

    def options(self) -> dict[str, Any]:
        """The options of `identify`."""
        names = ("model", "guarantee", "nx", "nv", "activation", "learning_rate", "seed")
        return {name: getattr(self, name) for name in names}


def grid(
    models: Sequence[str], guarantees: Sequence[tuple[str, Promise | None]], nx: Sequence[int | None] = (None,),
    nv: Sequence[int | None] = (None,), activations: Sequence[str | None] = (None,),
    learning_rates: Sequence[float | None] = (None,), seeds: int = 1,
) -> list[Trial]:  # fmt: skip
    """Every combination that makes sense, once: what a model does not take is left out of it.

    Args:
        models: keys of `kinds.KINDS`.
        guarantees: (words, promise) pairs; a model that promises nothing is tried once, without.
        nx: numbers of states.
        nv: numbers of neurons.
        activations: of RENs.
        learning_rates: of Adam.
        seeds: how many seeds, from 0.

    Returns:
        The trials.
    """
    found: dict[str, Trial] = {}
    for model, (words, promise), n, q, activation, rate, seed in itertools.product(
        models, guarantees, nx, nv, activations, learning_rates, range(seeds)
    ):
        kind = KINDS.get(model)
        able = kind is None or kind.promises
        n, q = (n if kind is None or kind.states else None), (q if kind is None or kind.neurons else None)
        activation = activation if kind is None or kind.activation else None
        settled = settle(model, promise if able else None, n, q, activation)
        trial = Trial(model, settled, words if able else "none", n, q, activation, rate, seed)
        found.setdefault(trial.name, trial)
    return list(found.values())


def run(
    trial: Trial, data: Data, folder: Path, progress: Progress | None = None, **options: Any
) -> dict[str, Any]:  # fmt: skip
    """Make one trial, or go on with it, or read what it found; a fit that fails leaves its reason instead of a score.

    Args:
        trial: what to try.
        data: the training records.
        folder: of the sweep; the trial has one of its own inside.
        progress: as for `identify`.
        **options: further options of `identify`, such as `steps`, `minutes` and `val`.

    Returns:
        The row of the table.

    Raises:
        DataError: the records cannot be fitted by any trial, or files of an earlier run are damaged.
    """
    home, known = folder / trial.name, fingerprint(trial, data, options)
    complete = read(home, known)
    if complete is not None:
        return complete
    home.mkdir(parents=True, exist_ok=True)
    wanted = trial.options() | options
    keeper = Checkpoint(home, known, resume=True)
    row: dict[str, Any] = {"trial": trial.name} | {k: v for k, v in trial.options().items() if k != "guarantee"}
    row["guarantee"] = trial.words
    try:
        fit = identify(data, keeper=keeper, progress=progress, **wanted)
    except DataError:
        raise  # no other trial would fare better
    except EqnetsError as error:
        row |= {"val_rmse": None, "why": " ".join(str(error).split())}
    else:
        fit.save(home, force=True)
        kept = {name: fit.settings[name] for name in ("nx", "nv", "activation", "learning_rate")}
        proved = repr(fit.certificate.claim) if fit.certificate is not None else "nothing"
        row |= kept | {
            "val_rmse": fit.settings["val_rmse"], "linear_val_rmse": fit.settings["linear_val_rmse"],
            "seconds": round(fit.settings["seconds"], 1), "proved": proved, "why": "",
        }  # fmt: skip
    kept = {"row": row, "fingerprint": known}
    write_bytes(home / DONE, (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode())
    keeper.clear()
    return row


def fingerprint(trial: Trial, data: Data, options: dict[str, Any]) -> dict[str, Any]:
    """What must be the same for a trial's files to be taken up: the data and every option; fits in JSON."""
    return data.fingerprint() | {name: repr(value) for name, value in (trial.options() | options).items()}


def forget(home: Path) -> None:
    """Delete what a trial would go on from, its row and its checkpoints."""
    (home / DONE).unlink(missing_ok=True)
    Checkpoint(home, {}).clear()


def read(home: Path, known: dict[str, Any]) -> dict[str, Any] | None:
    """The row of a trial that is complete, else None.

    Args:
        home: the trial's folder.
        known: its fingerprint.

    Returns:
        The row.

    Raises:
        DataError: its file is damaged, or belongs to other data or options.
    """
    path = home / DONE
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        row, found = (
            {"trial": kept["row"]["trial"], "val_rmse": kept["row"]["val_rmse"]} | kept["row"],
            kept["fingerprint"],
        )
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete {home} and repeat the sweep with --resume.") from error
    changed = sorted(name for name in {*found, *known} if found.get(name) != known.get(name))
    if changed:
        raise DataError(
            f"{path} belongs to another sweep ({', '.join(changed)} changed); resume with the same data and options, "
            "name another folder, or start again with --force."
        )
    return row


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, best validation error first, failures last."""
    return sorted(rows, key=lambda row: (row["val_rmse"] is None, row["val_rmse"] or 0.0, row["trial"]))


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The table as CSV."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
