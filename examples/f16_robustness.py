"""The lecture's two F16 figures: accuracy against robustness, and how far a small perturbation moves the output.

    python examples/f16_robustness.py [--table FILE.json] [-o FOLDER]

Models of the F16 ground vibration test, standardised as in the REN paper, with force and voltage as inputs. A REN with
a promised gain γ (a certificate proves it) stands beside an LSTM and an RNN that promise nothing, and beside linear
models under the same promise. On the left, the error over the gain: promised, and observed by an attack. On the right,
what the lecture calls stability: the first output's deviation along a measured record, from the same initial state,
under a perturbation with ‖Δu‖₂ = 0.05 over the whole sequence that an adversary chose with an equal budget for every
model. It shows sensitivity; whether trajectories forget is another matter, which the promise of contraction is about.

The numbers are those that `benchmarks/f16_table.py` stored. A smoke run (EQNETS_SMOKE=1) calls it to train small models
first, for which EQNETS_DATA must name the folder of data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from record import SMOKE, store

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COLOURS = {"REN": "C0", "linear": "C1", "FIR": "C2", "LSTM": "C4", "RNN": "C3"}
SHOWN = [("RNN", None), ("LSTM", None), ("linear", 40.0), ("REN", 40.0), ("REN", 10.0)]


def table(path: Path | None) -> dict[str, Any]:
    """The stored table, or one of small models that are trained now.

    Args:
        path: the file; None is the benchmark's own result, or the smoke run's.

    Returns:
        The table.
    """
    if path is None and SMOKE:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.json"
            script = [sys.executable, str(BENCHMARKS / "f16_table.py"), "--smoke", "-m", folder, "-o", str(path)]
            subprocess.run(script, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return json.loads(path.read_text(encoding="utf-8"))
    return json.loads((path or BENCHMARKS / "results" / "f16_table.json").read_text(encoding="utf-8"))


def points(found: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Gain and NRMSE of every model by its kind, the median over seeds; the gain is the observed one.

    Args:
        found: the table.

    Returns:
        By kind, from the smallest gain to the largest: gamma (None: not promised), gain, nrmse.
    """
    grouped: dict[tuple[str, Any], list[tuple[float, float]]] = {}
    for row in found["rows"]:
        grouped.setdefault((row["model"], row["gamma"]), []).append((row["observed_gain"], row["nrmse"]))
    for row in found["fir"]:
        grouped.setdefault(("FIR", row["gamma"]), []).append((row["gain"], row["nrmse"]))
    result: dict[str, list[dict[str, float]]] = {}
    for (kind, gamma), values in grouped.items():
        gain, nrmse = np.median(values, axis=0)
        result.setdefault(kind, []).append({"gamma": gamma, "gain": float(gain), "nrmse": float(nrmse)})
    return {kind: sorted(rows, key=lambda row: row["gain"]) for kind, rows in result.items()}


def accuracy(axes: Any, found: dict[str, Any]) -> None:
    """Draw the error over the observed gain, with the promise as a tick to the right of it.

    Args:
        axes: where to.
        found: the table.
    """
    labels = {"linear": "linear, trained (nv = 0)", "FIR": "linear, FIR"}
    epochs = {row["model"]: row["epochs"] for row in found["rows"] if row["gamma"] is None}
    labels |= {kind: f"{kind}, {number} epochs" for kind, number in epochs.items()}
    for kind, rows in points(found).items():
        gain, nrmse = [row["gain"] for row in rows], [row["nrmse"] for row in rows]
        lines = "-" if len(rows) > 1 else ""
        axes.plot(gain, nrmse, f"o{lines}", color=COLOURS[kind], label=labels.get(kind, kind), markersize=4)
        if kind == "REN":
            for row in rows:
                if isinstance(row["gamma"], float):
                    axes.plot([row["gain"], row["gamma"]], [row["nrmse"]] * 2, "-|", color=COLOURS[kind], alpha=0.5)
    published = [row for row in found["paper"] if row["model"] == "REN"]
    axes.plot(
        [row["observed_gain"] for row in published], [row["nrmse"] for row in published], "x", color="0.4",
        label="REN paper, Table I (protocol not re-checked)",
    )  # fmt: skip
    axes.set(
        xscale="log", xlabel="gain: observed (dot), promised (tick)", ylabel="NRMSE, levels 2, 4, 6",
        title="Accuracy against robustness",
    )  # fmt: skip
    axes.grid(alpha=0.3)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))  # room for the legend, which would lie on the RNN
    axes.legend(fontsize=7, ncols=2, loc="upper center")


def deviations(found: dict[str, Any]) -> dict[str, list[float]]:
    """Δy1 of the models that are drawn, from the least robust to the most.

    Args:
        found: the table.

    Returns:
        By name.
    """
    kept = {}
    for kind, gamma in SHOWN:
        rows = [row for row in found["rows"] if (row["model"], row["gamma"]) == (kind, gamma)]
        if rows:
            kept[kind if gamma is None else f"{kind}, γ = {gamma:g}"] = rows[0]["deviation"]
    return kept


def stability(axes: Any, moved: dict[str, list[float]]) -> None:
    """Draw Δy1 along the record.

    Args:
        axes: where to.
        moved: what `deviations` gives.
    """
    for name, values in moved.items():
        colour, faint = COLOURS[name.split(",")[0]], name.endswith("10")
        axes.plot(range(len(values)), values, color=colour, linewidth=0.9, alpha=0.6 if faint else 1, label=name)
    axes.set(xlabel="step", ylabel="Δy1, standardised", title="Deviation under an adversarial input, ‖Δu‖₂ = 0.05")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")


def main() -> None:
    """Print, store and draw."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--table", type=Path, help="what benchmarks/f16_table.py stored; its own result if left out")
    options.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
    given = options.parse_args()
    plt.switch_backend("agg")
    content = table(given.table)
    moved = deviations(content)
    print("model                 largest |Δy1|, and ‖Δy1‖ over ‖Δu‖ = 0.05")
    for name, values in moved.items():
        print(f"{name:<20}  {max(map(abs, values)):.4f}  {np.linalg.norm(values) / content['attack']['norm']:.2f}")
    facts = {"attack": content["attack"], "scaled_by": content["scaled_by"]}
    stored = store("f16_robustness", {**facts, "accuracy": points(content), "deviation": moved}, given.output)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    accuracy(left, content)
    stability(right, moved)
    if stored:
        figure.savefig(stored.with_suffix(".png"), dpi=110)
        print(f"written: {stored.name} and its plot in {stored.parent.name}/")


if __name__ == "__main__":
    main()
