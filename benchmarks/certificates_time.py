"""The search for a certificate: time and memory against size, with the outside solvers beside; a table and a plot.

    python benchmarks/certificates_time.py [--smoke] [-o FOLDER]

Every case is a process of its own: CPU seconds of one thread, and how far its resident memory grew. The problem is the
smallest gain of a random network; the outside solvers get it through cvxpy, at sizes where they end within minutes.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from certificates import RECURRENT, STATIC, clarabel, cvxpy, gamma_of, network, seconds

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

TARGETS = {
    (0, 100): 0.4, (0, 200): 2.0, (0, 400): 12.0, (0, 800): 120.0, (20, 40): 0.3, (20, 200): 3.0, (50, 100): 15.0,
}  # fmt: skip
OUTSIDE = {"SCS": [(0, 20), (0, 40), (0, 100), (20, 40)], "CLARABEL": [(0, 20), (0, 40), (0, 60), (20, 40), (0, 100)]}
LINE = "| nx | nv | search s | proved s | MB | target s | Clarabel s (MB) | SCS s (MB) |"


def sized(nx: int, nv: int) -> eq.LFR:
    """The random network of a size, as in `certificates.py`."""
    return network(0, 10 if nx == 0 else 2, nx, nv, 5 if nx == 0 else 2, 0.9 if nx == 0 else 0.55)


def ours(nx: int, nv: int) -> dict[str, Any]:
    """The search alone, and with the exact proof that follows."""
    lfr = sized(nx, nv)
    search, gamma = seconds(lambda: gamma_of(lfr))
    proof, cert = seconds(lambda: eq.tighten(eq.Lipschitz(1.0), lfr))
    return {"gamma": gamma, "search_s": search, "proved": cert.claim.gamma, "whole_s": proof}


def outside(nx: int, nv: int, solver: str) -> dict[str, Any]:
    """The same optimum by cvxpy."""
    took, gamma = seconds(lambda: clarabel(sized(nx, nv), solver))
    return {"gamma": gamma, "search_s": took}


def alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """A case in a process of its own, with the growth of its resident memory."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(there, function, arguments))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return {"failed": "the process ended without a result"}
    finally:
        process.join()


def _child(pipe: Any, function: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    row = function(*arguments)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    pipe.send({**row, "MB": round(grown / 1024)})  # kilobytes on Linux


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""

    def cell(row: dict[str, Any], solver: str) -> str:
        found = row.get(solver)
        return f"{found['search_s']:.1f} ({found['MB']})" if found and "search_s" in found else ""

    lines = [LINE, "|" + "---|" * 8]
    for row in rows:
        us, target = row["ours"], TARGETS.get((row["nx"], row["nv"]), "")
        lines.append(
            f"| {row['nx']} | {row['nv']} | {us['search_s']:.2f} | {us['whole_s']:.2f} | {us['MB']} | {target} | "
            f"{cell(row, 'CLARABEL')} | {cell(row, 'SCS')} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Time and memory of the static networks against their size, logarithmic."""
    figure, pair = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    static = [row for row in rows if row["nx"] == 0]
    for axes, key, label in zip(pair, ("search_s", "MB"), ("CPU time [s]", "memory [MB]"), strict=True):
        for name, title in (("ours", "eqnets"), ("CLARABEL", "cvxpy, Clarabel"), ("SCS", "cvxpy, SCS")):
            points = [(row["nv"], max(row[name][key], 1e-3)) for row in static if key in row.get(name, {})]
            axes.plot(*zip(*points, strict=True), "o-", label=title) if points else None
        axes.set(xscale="log", yscale="log", xlabel="neurons (static network)", ylabel=label)
        axes.set_xticks([20, 50, 100, 200, 400, 800], ["20", "50", "100", "200", "400", "800"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    wanted = sorted((nv, limit) for (nx, nv), limit in TARGETS.items() if nx == 0)
    pair[0].plot(*zip(*wanted, strict=True), "k:", label="target")
    pair[0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="two small sizes")
    parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (
        [(0, 6), (2, 3)] if options.smoke else [*((0, q) for q in (20, 40, 60)), *RECURRENT, *((0, q) for q in STATIC)]
    )
    cases = [(size, "ours") for size in sizes]
    if cvxpy is not None:
        cases += [(size, solver) for solver in OUTSIDE for size in (sizes if options.smoke else OUTSIDE[solver])]
    found: dict[tuple[int, int], dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for size, name in cases:
        row = found.setdefault(size, {"nx": size[0], "nv": size[1]})
        row[name] = alone(ours, *size) if name == "ours" else alone(outside, *size, name)
        sys.stderr.write(f"{name} {size}: {json.dumps(row[name])}\n")
        rows = sorted(found.values(), key=lambda row: (row["nx"], row["nv"]))
        if options.output:
            store(rows, options.output)
    sys.stdout.write(table(rows) + "\n")


def store(rows: list[dict[str, Any]], folder: Path) -> None:
    """The rows so far as JSON, with the environment, and their plot."""
    environment = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    if cvxpy is not None:
        environment["cvxpy"] = cvxpy.__version__
    text = json.dumps({"environment": environment, "searched": rows}, indent=2)
    (folder / "certificates_time.json").write_text(text + "\n", encoding="utf-8")
    plot(rows, folder / "certificates_time.png")


if __name__ == "__main__":
    main()
