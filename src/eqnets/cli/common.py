"""What several verbs share: lists of columns, guarantees, scores in a table."""

from __future__ import annotations

import json
import math
import shlex
import sys
from dataclasses import replace
from typing import Annotated, Any, Literal

import typer

from eqnets.certification import Contracting, Dissipative, Lipschitz, Passive, WellPosed
from eqnets.errors import InputError
from eqnets.identification.data import Data
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import NOTHING, Promise
from eqnets.identification.kinds import KINDS
from eqnets.identification.metrics import Score
from eqnets.identification.rates import base_names, is_rate
from eqnets.identification.readers import read
from eqnets.reporting.attack_section import ATTACK

Files = Annotated[
    list[str], typer.Argument(metavar="DATA…", help="Files (CSV, TSV, MAT, NPZ, HDF5), or globs in quotes.")
]
Inputs = Annotated[list[str] | None, typer.Option("--u", metavar="NAMES", help="Input columns: a,b or repeated.")]
Outputs = Annotated[list[str] | None, typer.Option("--y", metavar="NAMES", help="Output columns: a,b or repeated.")]
SampleTime = Annotated[float | None, typer.Option("--dt", metavar="S", help="Sample time in seconds.")]
Units = Annotated[
    list[str] | None,
    typer.Option(
        "--units", metavar="NAME=UNIT", help="Units that the files do not say: force=N,acc=m/s²; or repeated."
    ),
]
TimeColumn = Annotated[str | None, typer.Option("--time", metavar="COL", help="Column that holds the time.")]
Difference = Annotated[
    list[str] | None,
    typer.Option("--difference", metavar="NAMES", help="Outputs to replace by their rates of change, for integrators."),
]
Model = Annotated[
    str,
    typer.Option("--model", metavar="NAME", help=f"{', '.join(KINDS)}; those after linear promise nothing."),
]
Neurons = Annotated[
    str | None, typer.Option("--nv", metavar="N|auto", help="Number of neurons; the usual one if left out; auto tries.")
]
States = Annotated[int | None, typer.Option("--nx", min=1, help="Number of states; chosen if left out.")]
Seed = Annotated[int, typer.Option("--seed", help="Of every random choice.")]
Gaps = Annotated[str, typer.Option("--gaps", metavar="raise|split", help="At a gap: refuse, or make separate records.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing output.")]
Minutes = Annotated[float | None, typer.Option("--minutes", metavar="M", help="Time for each fit; 5 if left out.")]
Steps = Annotated[
    int | None, typer.Option("--steps", metavar="N", min=0, help="Updates instead of minutes: repeatable.")
]
Tail = Annotated[float, typer.Option("--val", metavar="SHARE", help="Tail of every record, for validation.")]
Initial = Annotated[
    int, typer.Option("--n-init", metavar="N", min=0, help="First samples: set the initial state, are not scored.")
]


def length(minutes: float | None, steps: int | None, usual: float = 5.0) -> dict[str, Any]:
    """How long to train, as `identify` takes it.

    Args:
        minutes: of the command line.
        steps: of the command line.
        usual: the minutes where neither was given.

    Returns:
        Both options.

    Raises:
        InputError: both were given.
    """
    if minutes is not None and steps is not None:
        raise InputError("--minutes and --steps are two ways to say how long; give one.")
    return {"steps": steps, "minutes": usual if minutes is None else minutes}


def neurons(words: str | None) -> int | str | None:
    """The number of neurons as `identify` takes it.

    Args:
        words: of the command line.

    Returns:
        A number, "auto", or None.

    Raises:
        InputError: it is neither.
    """
    if words is None or words == "auto":
        return words
    if not words.isdecimal():
        raise InputError(f"--nv takes a whole number of at least 0, or auto; got '{words}'.")
    return int(words)


def names(lists: list[str] | None) -> list[str]:
    """Channel names from comma lists that may repeat.

    Args:
        lists: what stood behind every `--u` or `--y`.

    Returns:
        The names, in order.
    """
    return [name.strip() for words in lists or () for name in words.split(",") if name.strip()]


def units_of(lists: list[str] | None) -> dict[str, str]:
    """Units by channel name from comma lists of NAME=UNIT that may repeat.

    Args:
        lists: what stood behind every `--units`.

    Returns:
        The units by name.

    Raises:
        InputError: an entry has no name or no unit, or a name comes twice.
    """
    units: dict[str, str] = {}
    for entry in names(lists):
        name, _, unit = (part.strip() for part in entry.rpartition("="))
        if not name or not unit or name in units:
            raise InputError(f"--units takes NAME=UNIT, each name once, such as force=N; got '{entry}'.")
        units[name] = unit
    return units


def read_files(
    files: list[str], u: list[str] | None, y: list[str] | None, dt: float | None, clock: str | None, gaps: str,
    units: list[str] | None = None, difference: list[str] | None = None,
) -> Data:  # fmt: skip
    """Read the files of a command line.

    Args:
        files: paths or globs.
        u: comma lists of inputs.
        y: comma lists of outputs.
        dt: sample time in seconds.
        clock: name of the time column.
        gaps: "raise" or "split".
        units: comma lists of NAME=UNIT.
        difference: comma lists of outputs to replace by their rates of change.

    Returns:
        The data.
    """
    data = read(files, u=names(u) or None, y=names(y) or None, dt=dt, time=clock, gaps=gaps, units=units_of(units))
    return data.difference(*names(difference)) if difference else data


def like_model(fit: Fit, files: list[str], u: list[str] | None, y: list[str] | None, **options: Any) -> Data:
    """Read records for a model: its own channel names, or others that are mapped by position.

    Args:
        fit: the model.
        files: paths or globs.
        u: names of the inputs in the files; None takes the model's.
        y: names of the outputs in the files; None takes the model's.
        **options: dt, clock and gaps; where neither dt nor clock is given, the model's sample time is taken.

    Returns:
        The data, under the model's names; where the model has the rate of an output, its rate.

    Raises:
        InputError: a wrong number of names.
    """
    system = fit.system
    own_u, own_y = list(system.u_names or ()), list(system.y_names or ())
    for flag, given, own in (("--u", names(u), own_u), ("--y", names(y), own_y)):
        if given and len(given) != len(own):
            raise InputError(f"{flag} names {len(given)} columns, the model has {len(own)}: {', '.join(own)}.")
    if options["dt"] is None and options["clock"] is None:
        options["dt"] = system.dt
    measured = names(y) or list(base_names(tuple(own_y)))
    data = read_files(files, names(u) or own_u, measured, **options)
    rates = [name for name, own in zip(measured, own_y, strict=True) if is_rate(own)]
    data = data.difference(*rates) if rates else data
    return replace(data, u_names=tuple(own_u), y_names=tuple(own_y))


def claim(
    words: str, u_scale: str | None = None, y_scale: str | None = None
) -> Contracting | Lipschitz | Dissipative | Passive | WellPosed | Literal["none"]:
    """A claim from the command line.

    Args:
        words: `contracting`, `contracting:RATE`, `lipschitz:GAMMA`, `passive[:INPUT[,OUTPUT]]`, `dissipative:Q,S,R`
            (numbers, or matrices as [[1,0],[0,1]]), `well-posed` or `none`.
        u_scale: comma list of input scales, for `lipschitz`.
        y_scale: comma list of output scales.

    Returns:
        The claim.

    Raises:
        InputError: there is no such claim, or its number is wrong.
    """
    kind, _, number = words.strip().lower().partition(":")
    if (u_scale or y_scale) and kind != "lipschitz":
        raise InputError("--u-scale and --y-scale belong to lipschitz:GAMMA; leave them out.")
    match kind:
        case "contracting":
            return Contracting(_number(number, "contracting:RATE")) if number else Contracting()
        case "lipschitz":
            if not number:
                raise InputError("a Lipschitz guarantee needs its bound; write lipschitz:GAMMA, such as lipschitz:10.")
            scales = [numbers(text, flag) for text, flag in ((u_scale, "--u-scale"), (y_scale, "--y-scale"))]
            return Lipschitz(_number(number, "lipschitz:GAMMA"), *scales)
        case "well-posed" | "none" if not number:
            return WellPosed() if kind == "well-posed" else "none"
        case "passive":
            return Passive(*_json(number, "passive:INPUT,OUTPUT", 0, 2))
        case "dissipative":
            blocks = _json(number, "dissipative:Q,S,R (numbers, or matrices as [[1,0],[0,1]])", 3, 3)
            Q, S, R = (((block,),) if isinstance(block, int | float) else block for block in blocks)
            return Dissipative(Q, S, R)
    raise InputError(
        f"'{words}' is no guarantee; write contracting, lipschitz:GAMMA, passive, dissipative:Q,S,R or none."
    )


def promise(words: str | None, u_scale: str | None = None, y_scale: str | None = None) -> Promise | None:
    """What a model that is fitted is to promise.

    Args:
        words: as for `claim`; None leaves it to the model.
        u_scale: comma list of input scales, for `lipschitz`.
        y_scale: comma list of output scales.

    Returns:
        The guarantee, "none", or None.

    Raises:
        InputError: no model of this version keeps it by construction.
    """
    if words is None and not (u_scale or y_scale):
        return None
    found = claim(words or "contracting", u_scale, y_scale)
    if isinstance(found, WellPosed):
        raise InputError(
            f"'{words}' cannot be fitted in this version; write contracting, lipschitz:GAMMA, passive, "
            "dissipative:Q,S,R or none."
        )
    return found


def attacked(fit: Fit) -> Fit:
    """The fit with an attack beside its certificate, where it has one: three numbers, not one.

    Args:
        fit: the fit.

    Returns:
        The fit.
    """
    return fit if fit.certificate is None else replace(fit, certificate=fit.certificate.attacked(**ATTACK))


def evidence(fit: Fit) -> str:
    """The certificate in words; where there is none, that nothing is certified.

    Args:
        fit: the fit.

    Returns:
        What to print.
    """
    return NOTHING if fit.certificate is None else fit.certificate.summary()


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"'{text}' is no positive number; write {what}.")
    return value


def _json(text: str, what: str, least: int, most: int) -> list[Any]:
    """Numbers or matrices behind commas."""
    try:
        values = json.loads(f"[{text}]")
    except json.JSONDecodeError:
        values = None
    if values is None or not least <= len(values) <= most or any(isinstance(v, str | dict | bool) for v in values):
        raise InputError(f"'{text}' cannot be read; write {what}.")
    return values


def numbers(text: str | None, flag: str) -> tuple[float, ...] | None:
    """Positive numbers behind commas; None where the flag was left out."""
    return None if text is None else tuple(_number(part.strip(), f"{flag} A,B,…") for part in text.split(","))


def command_line() -> str:
    """The command as it was typed, for the report."""
    return "eqnets " + shlex.join(sys.argv[1:])


def say_scores(title: str, own: Score, linear: Score, outputs: list[str], units: list[str]) -> None:
    """Print a model's score with the linear model's beside it.

    Args:
        title: what was scored.
        own: the model's score.
        linear: the linear model's, on the same records.
        outputs: names of the outputs.
        units: units of the outputs.
    """
    typer.echo(f"{title} (simulation from the inputs; the first {own.n_init} samples set the initial state)")
    width = max(20, *map(len, outputs)) + 2
    typer.echo(f"  {'output':<{width}}{'':<14}{'RMSE':>12}  {'unit':<8}{'NRMSE':>9}{'fit %':>9}{'VAF %':>9}")
    for i, (output, unit) in enumerate(zip(outputs, units, strict=True)):
        for label, score in (("model", own), ("linear model", linear)):
            row = f"{score.rmse[i]:>12.5g}  {unit or '–':<8}{score.nrmse[i]:>9.4f}{score.fit_percent[i]:>9.2f}"
            typer.echo(f"  {output if label == 'model' else '':<{width}}{label:<14}{row}{score.vaf[i]:>9.2f}")
