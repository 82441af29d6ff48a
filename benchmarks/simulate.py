"""Time the rollout, forward and backward, against torch.nn.LSTM of as many units, interleaved in one run.

    python benchmarks/simulate.py [--smoke] [--threads N] [-o FILE.json]

A ratio is the median over rounds of (REN time / LSTM time). The cases are those of the REN papers and of peers.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from eqnets import ContractingREN
from eqnets.system.simulate import simulate

CASES = [(75, 150, 4, 128), (20, 40, 32, 1000), (10, 20, 4, 128), (30, 60, 64, 512)]
"""nx, nv, batch, time."""


def milliseconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def case(nx: int, nv: int, batch: int, length: int, rounds: int) -> dict[str, float | int]:
    generator = torch.Generator().manual_seed(0)
    model = ContractingREN(2, nx, nv, 3, generator=generator)
    lstm = torch.nn.LSTM(2, nv, batch_first=True)
    u = torch.randn(batch, length, 2, generator=generator)
    fixed = model.explicit().detach().to(torch.float32)
    blocks = {name: block.requires_grad_() for name, block in fixed.blocks().items()}
    fixed = fixed.replace(**blocks)

    def rollout() -> None:
        simulate(fixed, u)[0].square().mean().backward()

    def whole() -> None:
        model(u)[0].square().mean().backward()

    def peer() -> None:
        lstm(u)[0].square().mean().backward()

    times: dict[str, list[float]] = {"rollout": [], "whole": [], "lstm": []}
    for run in (rollout, whole, peer):
        run()  # warm up
    for _ in range(rounds):
        for name, run in (("rollout", rollout), ("whole", whole), ("lstm", peer)):
            times[name].append(milliseconds(run))
    return {
        "nx": nx, "nv": nv, "batch": batch, "time": length,
        **{f"{name}_ms": round(statistics.median(values), 2) for name, values in times.items()},
        "rollout_over_lstm": round(statistics.median(a / b for a, b in zip(times["rollout"], times["lstm"], strict=True)), 2),  # noqa: E501
        "whole_over_lstm": round(statistics.median(a / b for a, b in zip(times["whole"], times["lstm"], strict=True)), 2),  # noqa: E501
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="one small case, two rounds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases, rounds = ([(10, 20, 4, 128)], 2) if options.smoke else (CASES, 7)
    result = {
        "environment": {
            "python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine(),
            "threads": options.threads,
        },
        "dtype": "float32", "rounds": rounds, "cases": [case(*sizes, rounds) for sizes in cases],
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
