"""One page of the stored benchmark results, made from their JSON, so that no figure in it is copied by hand."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
MEASURED = {
    "wh2009": "Wiener–Hammerstein", "silverbox": "Silverbox", "cascaded_tanks": "Cascaded Tanks", "f16": "F16",
    "emps": "EMPS",
}  # fmt: skip


def stored(name: str) -> dict[str, Any]:
    """A result.

    Args:
        name: its file under `benchmarks/results`, without the ending.

    Returns:
        What it holds.
    """
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Three digits, and all that stand before the point."""
    return "–" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def measured(result: dict[str, Any]) -> str:
    """The table of a measured benchmark: median and range over seeds, the linear start, what others published."""
    rows = []
    for model in result["models"]:
        promise = model["guarantee"].split("(")[0]
        label = f"{model['model'].upper()}, " + ("no promise" if promise == "none" else promise.lower())
        values = [
            f"**{number(median)}** ({number(low)}–{number(high)})"
            for median, (low, high) in zip(model["median"], model["spread"], strict=True)
        ]
        times = sorted(run["seconds"] for run in model["runs"])
        rows.append([label, *values, f"{len(times)}", f"{times[len(times) // 2]:.0f}"])
    linear = result["models"][0].get("linear_median")
    if linear:
        rows.append(["its linear start", *map(number, linear), "", ""])
    rows += [[f"{row['model']} ({row['source']})", *map(number, row["values"]), "", ""] for row in result["published"]]
    return table([f"RMSE, {result['unit']}", *result["tests"], "seeds", "seconds a fit"], rows)


def promised(result: dict[str, Any]) -> str:
    """The F16 table: NRMSE over the promised gain, the median over seeds and the range."""
    rows = []
    for kind, gamma in dict.fromkeys(
        (row["model"], row["gamma"]) for row in result["rows"] if row["model"] != "linear"
    ):
        name = kind if gamma is None else str(gamma).replace("inf", "∞")
        linear = [r for r in result["rows"] if r["model"] == "linear"] if gamma is not None else []
        fir = result["fir"] if gamma is not None else []
        network, paper = ([r for r in result[part] if r["model"] == kind] for part in ("rows", "paper"))
        gain = max(r["observed_gain"] for r in network if r["gamma"] == gamma)
        rows.append([name, *(percent(found, gamma) for found in (network, linear, fir, paper)), number(gain)])
    return table(
        ["promised gain γ", "network, %", "linear (nv = 0), %", "FIR, %", "paper, %", "largest gain found"], rows
    )


def percent(rows: list[dict[str, Any]], gamma: Any) -> str:
    """The NRMSE of the rows under one promise."""
    found = [100 * row["nrmse"] for row in rows if row["gamma"] == gamma]
    if len(found) < 2:
        return f"{found[0]:.1f}" if found else "–"
    return f"**{statistics.median(found):.1f}** ({min(found):.1f}–{max(found):.1f})"


def rollouts() -> str:
    """Training steps against the peers, on one thread and on two."""
    names, rows = ["eqnets", "eqnets rollout", "LSTM", "tsfast", "JAX rollout", "neural-ssm"], []
    for threads, name in ((1, "rollout"), (2, "rollout_2_threads")):
        for case in stored(name)["cases"].values():
            size = f"{case['nx']}, {case['nv']}, {case['batch']}, {case['time']}"
            rows.append([f"{threads}", size, *(number(case["ms"].get(n)) for n in names)])
    return table(["threads", "states, neurons, batch, steps", *(f"{n}, ms" for n in names)], rows)


def fixed_points() -> str:
    """Forward and exact backward against torchdeq's same solver, and against the bare cost of the evaluations."""
    rows = []
    for case in stored("fixed_point")["cases"]:
        for solver, found in case["solvers"].items():
            if "torchdeq" in found:
                ours, theirs = found["eqnets"], found["torchdeq"]
                rows.append([
                    case["case"], solver, number(ours["ms"]), number(theirs["ms"]), f"{ours['over_floor']:.2f}",
                    f"{theirs['over_floor']:.2f}",
                ])  # fmt: skip
    head = ["cell", "solver", "eqnets, ms", "torchdeq, ms", "eqnets / its evaluations", "torchdeq / its evaluations"]
    return table(head, rows)


def page() -> str:
    """The page."""
    parts = [
        "# Benchmarks",
        "Every figure here is read from `benchmarks/results` when the page is built. One machine with two cores and no "
        "accelerator; each script in `benchmarks/` says what it measures and how.",
        "## Measured systems",
        "`eqnets bench NAME --guarantee contracting,none --seeds 5 --minutes M`: the official splits, the initial "
        "state from the first samples alone; the median over seeds, and the range. The certificate of every "
        "*contracting* model was verified from its file; that of EMPS, whose output integrates its input, is about the "
        "output's rate. Rows of others are as they were published, their protocol not checked again.",
    ]
    for name, title in MEASURED.items():
        if (RESULTS / "identification" / f"{name}.json").exists():
            parts += [f"### {title}", measured(stored(f"identification/{name}"))]
    parts += [
        "### F16 under a promised gain",
        "`python benchmarks/f16_table.py`: the REN paper's protocol (force and voltage → three accelerations, 75 "
        "states and 150 neurons, 70 epochs), NRMSE over levels 2, 4 and 6; ∞ promises contraction alone, the LSTM and "
        "the RNN nothing. Every certificate was verified from its file. The last column is the largest gain that an "
        "attack found. First standardised by a test record, as in the paper, then by the training records.",
        *(promised(stored(name)) for name in ("f16_table", "f16_table_training")),
        "## Rollouts",
        "`python benchmarks/rollout.py --threads N --sweep`: a training step (free parameters → loss → gradients, "
        "float32), and the rollout alone.",
        rollouts(),
        "![time against neurons, batch and length](../../benchmarks/results/rollout.png)",
        "## Fixed points",
        "`python benchmarks/fixed_point.py`: forward and exact backward to the same true residual, one thread.",
        fixed_points(),
        "## Certificates",
        "`python benchmarks/certificates_time.py`: time and memory of the search, beside general solvers.",
        "![time of the search](../../benchmarks/results/certificates_time.png)",
    ]
    return "\n\n".join(parts) + "\n"


def write(app: Sphinx) -> None:
    """Write `docs/runs/benchmarks.md`, which is not under version control."""
    target = Path(app.srcdir) / "runs" / "benchmarks.md"
    target.parent.mkdir(exist_ok=True)
    text = page()
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it."""
    app.connect("builder-inited", write, priority=200)  # after stored_runs has cleared its folder
    return {"parallel_read_safe": True, "version": "1"}
