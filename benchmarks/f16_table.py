"""The REN paper's F16 table: accuracy against the promised gain, every promise certified, linear rows beside it.

    EQNETS_DATA=… python benchmarks/f16_table.py [-m FOLDER] [-o FILE.json] [--seeds 0 1] [--trained-only] [--smoke]

Under the protocol of `f16_protocol` a REN (nx = 75, nv = 150) is trained for γ = 10, 20, 40, 60, 100, ∞, and beside it,
under the same promise, the same model without neurons, and a ridge FIR model; an LSTM and an RNN promise nothing. Each
certificate is written into the folder of models and verified from its file; each model is attacked with one budget.
Of several `--starts` the one with the least training loss is the row: at random, at a random linear system, or warm, at
the model of the next smaller bound, which keeps this one too (its epochs are then counted on top of that model's).
Training can be interrupted; the same command goes on. `--scaled-by training` standardises by the training records.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import torch
from f16_attack import ALONG, FREE, SIZE, TIME, attack
from f16_linear import TAPS, fir_rows
from f16_protocol import EPOCHS, Row, Signals, nrmse, signals, train
from torch import nn

import eqnets as eq

GAMMAS = [10.0, 20.0, 40.0, 60.0, 100.0, math.inf]
KINDS = ["REN", "linear", "LSTM", "RNN"]
PAPER = {  # Table I of the REN paper, acyclic: observed gain and NRMSE; LSTM and RNN read off its Fig. 4
    10.0: (8.8, 0.300), 20.0: (17.5, 0.257), 40.0: (36.7, 0.201), 60.0: (44.9, 0.185), 100.0: (60.6, 0.172),
    math.inf: (91.0, 0.162), "LSTM": (220.0, 0.19), "RNN": (1000.0, 0.21),
}  # fmt: skip


def evaluate(
    row: Row, model: nn.Module, told: dict, data: Signals, folder: Path, steps: tuple[int, int]
) -> dict[str, Any]:
    """The score, the certificate (verified from its file) and what an attack reaches."""
    with torch.no_grad():
        errors = nrmse(model(data.u_test)[0], data.y_test)
    found = attack(model, data.u_test[-1, :TIME], along=steps[0], free=steps[1])
    result = {
        "model": row.kind, "gamma": row.gamma, "seed": row.seed, "start": row.start,
        "nrmse": round(float(errors.mean()), 4),
        "observed_gain": round(found.gain, 3), "gain_along_the_record": round(found.along, 3), "certified": None,
        "epochs": len(told["loss"]), "training_loss": round(told["loss"][-1], 5),
        "training_s": round(told["seconds"], 1), "training_cpu_s": round(told["cpu"], 1),
        "per_level_and_output": [[round(v, 4) for v in level] for level in errors.tolist()],
        "deviation": [float(f"{v:.3g}") for v in found.deviation[:, 0].tolist()],
    }  # fmt: skip
    if row.gamma is not None:
        claim = eq.Contracting() if math.isinf(row.gamma) else eq.Lipschitz(row.gamma)
        lfr = model.explicit().detach()  # type: ignore[operator]
        certificate = eq.certify(claim, lfr, model.witness())  # type: ignore[operator]
        path = folder / f"{row.name}.certificate.json"
        path.unlink(missing_ok=True)
        certificate.save(path)
        result["certified"], result["margin"] = repr(eq.verify(path, lfr)), certificate.margin
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("EQNETS_DATA", ".")) / "f16")
    parser.add_argument("-m", "--models", type=Path, default=Path("f16_models"), help="weights and certificates")
    parser.add_argument("-o", "--output", type=Path, help="the table, as JSON; a plot is written beside it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--starts", nargs="+", choices=["random", "linear", "warm"], default=["random", "warm"])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--epochs-warm", type=int, default=20, help="of a warm start, beside those of the model before")
    parser.add_argument("--epochs-compared", type=int, help="of LSTM and RNN, if other than --epochs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="leave the others out")
    parser.add_argument("--scaled-by", choices=["level 4", "training"], default="level 4")
    parser.add_argument("--trained-only", action="store_true", help="leave out what the folder does not hold")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="small and short: shows that it runs, means nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.models.mkdir(parents=True, exist_ok=True)
    smoke = options.smoke
    gammas = [10.0, math.inf] if smoke else GAMMAS
    data = signals(options.data, options.scaled_by, time=3072 if smoke else None)
    results = []
    rows = [row for row in [*_promised(gammas), ("LSTM", None), ("RNN", None)] if row[0] in options.kinds]
    for seed, (kind, gamma) in itertools.product(options.seeds, rows):
        tried = [Row(kind, gamma, seed, start) for start in _starts(options.starts, gamma, gammas)]
        if options.trained_only:
            tried = [row for row in tried if (options.models / f"{row.name}.safetensors").is_file()]
        trained = [(row, *train(row, data, options.models, _epochs(row, options), small=smoke)) for row in tried]
        if not trained:
            continue
        row, model, told = min(trained, key=lambda one: one[2]["loss"][-1])
        results.append(evaluate(row, model, told, data, options.models, (3, 3) if smoke else (ALONG, FREE)))
        results[-1]["training_loss_by_start"] = {one.start: round(t["loss"][-1], 5) for one, _, t in trained}
        shown = {k: results[-1][k] for k in ("model", "gamma", "seed", "start", "nrmse", "observed_gain", "certified")}
        sys.stderr.write(f"{shown}\n")
    table = {
        "environment": {
            "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
            "threads": options.threads,
        },
        "scaled_by": options.scaled_by,
        "attack": {"norm": SIZE, "time": TIME, "steps_along_the_record": ALONG, "steps_over_inputs": FREE},
        "paper": [{"model": k if isinstance(k, str) else "REN", "gamma": None if isinstance(k, str) else k,
                   "observed_gain": gain, "nrmse": value} for k, (gain, value) in PAPER.items()],
        "rows": results, "fir": fir_rows(data, gammas, 40 if smoke else TAPS),
    }  # fmt: skip
    text = json.dumps(_finite(table), indent=1)
    text = re.sub(r"\[\n\s+(-?\d[^\[\]{}]*?)\n\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)  # a list, a line
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")
    for row in results:
        name = f"{row['model']:<7}{row['gamma'] or '':>6}"
        print(f"{name}  NRMSE {row['nrmse']:.4f}  observed gain {row['observed_gain']:.4g}")
    for row in table["fir"]:
        print(f"FIR    {row['gamma']:>6}  NRMSE {row['nrmse']:.4f}  gain {row['gain']:.4g}")


def _starts(asked: list[str], gamma: float | None, gammas: list[float]) -> list[str]:
    """Which starts a row has: all that were asked for under a finite bound, and else its own."""
    if gamma is None or math.isinf(gamma):
        return ["random"]
    smaller = max((bound for bound in gammas if bound < gamma), default=None)
    named = {"random": "random", "linear": "linear", "warm": None if smaller is None else f"from_{smaller:g}"}
    return [start for start in (named[one] for one in asked) if start is not None]


def _epochs(row: Row, options: argparse.Namespace) -> int:
    if options.smoke:
        return 1
    if row.gamma is None:
        return options.epochs_compared or options.epochs
    return options.epochs_warm if row.start.startswith("from_") else options.epochs


def _promised(gammas: list[float]) -> list[tuple[str, float]]:
    return [(kind, gamma) for kind in ("REN", "linear") for gamma in gammas]


def _finite(value: Any) -> Any:
    """JSON has no infinity: it is written as a word."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


if __name__ == "__main__":
    main()
