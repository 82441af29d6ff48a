"""Time fixed_point, forward and exact backward, against torchdeq with the same cell, solver and true tolerance.

    python benchmarks/fixed_point.py [--smoke] [--case NAME …] [--rounds N] [-o FILE.json]

Both must bring every sample to ‖f(z) − z‖₂ ≤ TOL ‖f(z)‖₂, and the adjoint u = Jᵀu + g likewise: torchdeq by its
relative stop test, eqnets by rtol=0 and the atol that means the same (`Case.calibrate`). The floor of a run is its
evaluations of f and products with Jᵀ, each at its bare cost for that many samples, measured in the same round. Times
are CPU times of one thread, medians over interleaved rounds; ratios are medians of the ratios of a round. Without
torchdeq only eqnets is timed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from fixed_point_cases import CASES, SMOKE, TOL, Case
from torch import Tensor

import eqnets as eq

try:
    from torchdeq import get_deq
except ModuleNotFoundError:
    get_deq = None

SOLVERS: dict[str, tuple[eq.Solver, str | None]] = {
    "picard": (eq.Picard(), "fixed_point_iter"),
    "anderson": (eq.Anderson(), "anderson"),
    "broyden": (eq.Broyden(), "broyden"),
    "auto": (eq.Auto(), None),
}
"""Ours, and the name of torchdeq's same solver; each with its own defaults."""

TARGETS = {"picard": (1.3, 1.4), "anderson": (1.8, 2.4), "broyden": (4.0, 2.5)}
"""At most this many floors; at least this much faster than torchdeq. The uneven batch: 5 times faster."""
UNEVEN = 5.0


class Calls(torch.autograd.Function):
    """The identity, which notes how many samples pass forward and backward."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, forward: Counter[int], backward: Counter[int]) -> Tensor:
        ctx.backward_calls = backward
        forward[len(z)] += 1
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        ctx.backward_calls[len(g)] += 1
        return g, None, None


def ours(case: Case, f: Callable[..., Tensor], solver: eq.Solver) -> Tensor:
    adjoint = eq.Implicit(solver=solver, rtol=0.0, atol=case.atol_adjoint)
    return eq.fixed_point(
        f, case.z0, *case.args, in_dims=case.in_dims, solver=solver, adjoint=adjoint, rtol=0.0, atol=case.atol,
        max_steps=case.max_steps, on_failure="ignore",
    ).value  # fmt: skip


def theirs(case: Case, f: Callable[..., Tensor], solver: str) -> Tensor:
    assert get_deq is not None
    deq = get_deq(
        ift=True, f_solver=solver, b_solver=solver, f_tol=TOL, b_tol=TOL, f_stop_mode="rel", b_stop_mode="rel",
        f_max_iter=case.max_steps, b_max_iter=case.max_steps,
    )  # fmt: skip
    return deq(lambda z: f(z, *case.args), case.z0)[0][-1]


def milliseconds(run: Callable[[], Any], repeats: int = 1) -> float:
    """CPU time: with one thread it is the time of an undisturbed machine, whoever else computes on this one."""
    began = time.process_time()
    for _ in range(repeats):
        run()
    return 1e3 * (time.process_time() - began) / repeats


class Runner:
    """One library with one solver on one case: what it computes, how often it asks for f, how long it takes."""

    def __init__(self, case: Case, solve: Callable[[Case, Callable[..., Tensor], Any], Tensor], solver: Any) -> None:
        self.case, self.solve, self.solver = case, solve, solver
        self.forward: Counter[int] = Counter()
        self.backward: Counter[int] = Counter()
        self.times: list[float] = []
        self.over_floor: list[float] = []
        value, gradients = self.run(lambda z, *args: Calls.apply(case.f(z, *args), self.forward, self.backward))
        self.residual = case.residual(value.detach())
        self.gradient_error = case.gradient_error(gradients)

    def run(self, f: Callable[..., Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        value = self.solve(self.case, f, self.solver)
        return value, torch.autograd.grad(value, self.case.wanted, self.case.g)

    def floor(self, costs: dict[int, tuple[float, float, float]]) -> float:
        """The bare cost of every evaluation and product; the last product goes to the parameters."""
        last = min(self.backward, key=lambda rows: rows != len(self.case.z0))
        total = costs[last][2] - costs[last][1]
        total += sum(count * costs[rows][0] for rows, count in self.forward.items())
        return total + sum(count * costs[rows][1] for rows, count in self.backward.items())

    def time(self, costs: dict[int, tuple[float, float, float]]) -> None:
        elapsed = milliseconds(lambda: self.run(self.case.f))
        self.times.append(elapsed)
        self.over_floor.append(elapsed / self.floor(costs))

    def summary(self) -> dict[str, Any]:
        size = len(self.case.z0)
        return {
            "ms": round(statistics.median(self.times), 3),
            "over_floor": round(statistics.median(self.over_floor), 2),
            "evaluations": round(sum(n * k for n, k in self.forward.items()) / size, 2),
            "products": round(sum(n * k for n, k in self.backward.items()) / size, 2),
            "relative_residual": float(f"{self.residual:.2e}"),
            "reached_tolerance": self.residual <= TOL,
            "gradient_error": float(f"{self.gradient_error:.2e}"),
        }


def bare_costs(case: Case, sizes: Iterable[int], repeats: int) -> dict[int, tuple[float, float, float]]:
    """Milliseconds of f, of a product with Jᵀ, and of a product with every derivative, by the number of samples."""
    costs = {}
    for rows in sizes:
        args = case.first(rows)
        z, g = case.z0[:rows].clone().requires_grad_(), case.g[:rows]
        with torch.no_grad():
            plain = milliseconds(lambda z=z, args=args: case.f(z, *args), repeats)
        y = case.f(z, *args)
        product = milliseconds(lambda y=y, z=z, g=g: torch.autograd.grad(y, z, g, retain_graph=True), repeats)
        wanted = [t for t in args if t.requires_grad]
        full = milliseconds(lambda y=y, w=wanted, g=g: torch.autograd.grad(y, w, g, retain_graph=True), repeats)
        costs[rows] = (plain, product, full)
    return costs


def measure(case: Case, rounds: int) -> dict[str, Any]:
    runners: dict[str, dict[str, Runner]] = {}
    for name, (solver, peer) in SOLVERS.items():
        runners[name] = {"eqnets": Runner(case, ours, solver)}
        if get_deq is not None and peer is not None:
            runners[name]["torchdeq"] = Runner(case, theirs, peer)
    everyone = [runner for pair in runners.values() for runner in pair.values()]
    sizes = sorted({rows for runner in everyone for rows in (*runner.forward, *runner.backward)})
    bare: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        costs = bare_costs(case, sizes, repeats=10)
        bare.append(costs[len(case.z0)])
        for runner in everyone:
            runner.time(costs)
    f, product, full = (round(statistics.median(column), 4) for column in zip(*bare, strict=True))
    result: dict[str, Any] = {
        "case": case.name, "batch": len(case.z0), "state": list(case.z0.shape[1:]),
        "bare_ms": {"f": f, "product": product, "all_derivatives": full}, "solvers": {},
    }  # fmt: skip
    for name, pair in runners.items():
        entry: dict[str, Any] = {library: runner.summary() for library, runner in pair.items()}
        entry["targets"] = judge(case, name, entry, pair)
        result["solvers"][name] = entry
    return result


def judge(case: Case, name: str, entry: dict[str, Any], pair: dict[str, Runner]) -> dict[str, Any]:
    """Each target with what was measured and whether it is met."""
    if name not in TARGETS:
        return {}
    at_most, at_least = TARGETS[name]
    over = entry["eqnets"]["over_floor"]
    verdict: dict[str, Any] = {"over_floor": {"target": at_most, "measured": over, "met": over <= at_most}}
    if "torchdeq" in pair:
        ratios = [b / a for a, b in zip(pair["eqnets"].times, pair["torchdeq"].times, strict=True)]
        faster, wanted = round(statistics.median(ratios), 2), UNEVEN if case.uneven else at_least
        verdict["faster_than_torchdeq"] = {"target": wanted, "measured": faster, "met": faster >= wanted}
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one small case, two rounds")
    parser.add_argument("--case", nargs="+", choices=list(CASES), help="only these cases")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if get_deq is None:
        sys.stderr.write(
            "torchdeq is not installed, so only eqnets is timed; for the comparison: pip install torchdeq.\n"
        )
    names = options.case or ([SMOKE] if options.smoke else list(CASES))
    result = {
        "environment": {
            "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
            "threads": 1, "torchdeq": importlib.metadata.version("torchdeq") if get_deq else None,
            "processors": os.cpu_count(), "load_at_start": round(os.getloadavg()[0], 1),
        },
        "dtype": "float32", "relative_tolerance": TOL, "rounds": 2 if options.smoke else options.rounds,
        "cases": [measure(CASES[name](), 2 if options.smoke else options.rounds) for name in names],
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
