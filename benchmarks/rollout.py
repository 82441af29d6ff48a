"""Time training steps of a REN, and everything else a rollout is for, against its peers; interleaved, in one run.

    python benchmarks/rollout.py [--smoke] [--threads N] [--rounds N] [--without NAME …] [--sweep] [-o FILE.json]
                                 [--plot FILE.png]

A step is free parameters → loss → gradients in float32; "rollout" starts at the explicit system instead. With one
thread times are CPU times (so that a busy machine disturbs them less), with more wall times; medians over interleaved
rounds, ratios are medians of the ratios of a round. The floor is the step's multiply-adds at the rate of a matrix
product measured in the same run. `--sweep` times against q, batch and length, `--plot` draws it (matplotlib). Peers are
timed where they are installed; see `rollout_peers`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rollout_peers import NU, NY, OURS, PEERS, SLOW, Run, system

import eqnets as eq

try:
    from matplotlib.figure import Figure
except ModuleNotFoundError:
    Figure = None

CASES = {"F16": (75, 150, 4, 128), "medium": (20, 40, 32, 1000), "small": (10, 20, 4, 128)}
"""nx, nv, batch, time."""
TARGETS = {"F16": {"eqnets rollout": 0.5, "eqnets": 1.0}, "medium": {"eqnets": 0.2}, "small": {"eqnets": 1.2}}
"""At most this many times torch.nn.LSTM of nv units; the medium case is a sixth of tsfast, itself 1.2 LSTM."""
SWEEPS = {
    "q": [(q // 2, q, 4, 128) for q in (10, 20, 40, 80, 160)],
    "batch": [(20, 40, b, 200) for b in (1, 4, 16, 64)],
    "time": [(20, 40, 4, t) for t in (64, 256, 1024, 4096)],
}


def milliseconds(run: Run) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    run()
    return 1e3 * (clock() - began)


def gemm_rate(rounds: int = 20) -> float:
    """Multiply-adds per second of a float32 matrix product, the best of some."""
    a = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    return 256**3 / (1e-3 * min(milliseconds(lambda: a @ a) for _ in range(rounds)))


def compare(sizes: tuple[int, int, int, int], rounds: int, without: set[str]) -> dict[str, Any]:
    """Time all of them on one case: `ms` medians, `over_lstm` medians of ratios, `first_s` the first call (wall)."""
    nx, nv, batch, length = sizes
    u = torch.randn(batch, length, NU, generator=torch.Generator().manual_seed(1))
    runs = {name: make(nx, nv, u) for name, make in {**OURS, **PEERS}.items() if name not in without}
    first = {}
    for name, run in runs.items():
        began = time.perf_counter()
        run()
        first[name] = round(time.perf_counter() - began, 2)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        for name, run in runs.items():
            if i < SLOW.get(name, rounds):
                times[name].append(milliseconds(run))
    # rows [x'; v; y] times columns [x; u; 1; w], of which D11 is half; forward, adjoint and weights
    products = 3 * ((nx + nv + NY) * (nx + NU + 1) + (nx + NY) * nv + nv * nv / 2) * batch * length
    ratio = {
        name: round(statistics.median(a / b for a, b in zip(found, times["LSTM"], strict=False)), 2)
        for name, found in times.items()
    }
    return {
        "nx": nx, "nv": nv, "batch": batch, "time": length, "first_s": first,
        "ms": {name: round(statistics.median(found), 3) for name, found in times.items()},
        "over_lstm": ratio, "floor_ms": round(1e3 * products / gemm_rate(), 3),
    }  # fmt: skip


def streaming(calls: int) -> dict[str, float]:
    """Microseconds of one step, nx = 20, nv = 40: the median over batches of 100 steps."""
    stepper, u = eq.Stepper(system(20, 40)), np.ones(NU, dtype=np.float32)

    def hundred() -> None:
        for _ in range(100):
            stepper(u)

    return {"us": round(statistics.median(10 * milliseconds(hundred) for _ in range(calls)), 2)}


def long_record(length: int, rounds: int) -> dict[str, Any]:
    """A long record, batch 1, slowest pole 0.98: chunks against the sequential kernel, forward and training."""
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator, dtype=torch.float64))[0]
    A = turn @ torch.diag(torch.linspace(0.5, 0.98, 20, dtype=torch.float64)) @ turn.mT
    B, C = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((20, 1), (1, 20)))
    lti = eq.LTI(A, B, C / 20, torch.zeros(1, 1, dtype=torch.float64), dt=1.0)
    model = eq.ContractingREN.from_linear(lti, 40, rate=0.985, generator=generator)
    with torch.no_grad():
        model.X.add_(0.01 * model.X.abs().mean() * torch.randn(model.X.shape, generator=generator, dtype=torch.float64))
    witness, lfr = model.witness(), model.explicit().detach().to(torch.float32)
    leaves = lfr.replace(**{name: block.clone().requires_grad_() for name, block in lfr.blocks().items()})
    u = torch.randn(1, length, 1, generator=generator)
    chunked = {"method": "chunked", "witness": witness}

    def train(**options: Any) -> None:
        eq.simulate(leaves, u, **options)[0].square().mean().backward()

    runs = {
        "forward": lambda: eq.simulate(lfr, u), "forward chunked": lambda: eq.simulate(lfr, u, **chunked),
        "training": train, "training chunked": lambda: train(**chunked),
    }  # fmt: skip
    for run in runs.values():  # warm up
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(milliseconds(run))
    y, _, info = eq.simulate(lfr, u, **chunked, return_info=True)
    error = float(torch.linalg.vector_norm(y - eq.simulate(lfr, u)[0], dim=-1).max())
    ms = {name: round(statistics.median(found), 1) for name, found in times.items()}
    return {
        "time": length, "rate": round(witness.rate(lfr), 4), "ms": ms, "error": error, "bound": float(info.bound.max()),
        "faster": {
            part: round(statistics.median(a / b for a, b in zip(times[part], times[f"{part} chunked"], strict=True)), 2)
            for part in ("forward", "training")
        },
    }  # fmt: skip


def plot(sweeps: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Time of a training step against the number of neurons, the batch and the length."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (name, cases) in zip(figure.subplots(1, len(sweeps)), sweeps.items(), strict=True):
        key = {"q": "nv"}.get(name, name)
        for label in cases[0]["ms"]:
            style = "o-" if label.startswith("eqnets") else "s--"
            axes.loglog([case[key] for case in cases], [case["ms"][label] for case in cases], style, label=label, ms=4)
        axes.set_xlabel({"q": "neurons q (nx = q/2, batch 4, 128 steps)"}.get(name, f"{name} (nx = 20, q = 40)"))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("training step, ms")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=150)


def environment(threads: int) -> dict[str, Any]:
    versions = {}
    for name in ("eqnets", "torch", "numpy", "numba", "tsfast", "neural-ssm", "jax"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {"python": platform.python_version(), "machine": platform.machine(), "threads": threads, **versions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one small case, two rounds, no peers but the LSTM")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without", nargs="*", default=[], choices=[*OURS, *PEERS], metavar="NAME")
    parser.add_argument("--sweep", action="store_true", help="time against q, batch and length as well")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    without, rounds = set(options.without), options.rounds
    cases = CASES
    if options.smoke:
        cases, rounds, without = {"small": CASES["small"]}, 2, {*PEERS} - {"LSTM"}
    result: dict[str, Any] = {
        "environment": environment(options.threads), "dtype": "float32", "rounds": rounds,
        "cases": {name: compare(sizes, rounds, without) for name, sizes in cases.items()},
        "streaming": streaming(5 if options.smoke else 100),
        "long": long_record(5_000 if options.smoke else 100_000, min(rounds, 5)),
        "targets_over_lstm": TARGETS,
    }  # fmt: skip
    if options.sweep or options.plot:
        quiet = without | set(SLOW)
        sweeps = {name: [compare(sizes, 5, quiet) for sizes in found] for name, found in SWEEPS.items()}
        result["sweeps"] = sweeps
        if options.plot:
            if Figure is None:
                parser.error("--plot needs matplotlib; run: pip install 'eqnets[examples]'")
            plot(sweeps, options.plot)
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
