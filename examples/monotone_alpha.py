# %% [markdown]
# # How many steps, for which step size?
#
# Forward–backward splitting needs no resolvent, and is proved to converge for $\alpha < 2m/L^2$ only; Peaceman–Rachford
# and Douglas–Rachford factorise $(I + \alpha(I - W))^{-1}$ once and converge for every $\alpha > 0$ (Winston & Kolter,
# NeurIPS 2020, figure 3). We count the steps of one batch against $\alpha$, for a monotone network as it starts and for
# one whose weights have grown as they do in training, forward and backward, and mark the step that eqnets chooses.
#
#     python examples/monotone_alpha.py [-o FOLDER]

# %%
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch
from record import SMOKE, store

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="Iterations of splittings against their step size.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
output = parser.parse_args().output

FEATURES, INPUTS, BATCH = (20, 30, 8) if SMOKE else (87, 784, 64)
MOST = 300 if SMOKE else 3000
ALPHAS = [2.0 ** (k / (1 if SMOKE else 2)) for k in (range(-8, 3) if SMOKE else range(-24, 7))]
SPLITTINGS = {
    "forward–backward": eq.ForwardBackward, "Peaceman–Rachford": eq.PeacemanRachford,
    "Douglas–Rachford": eq.DouglasRachford,
}  # fmt: skip


# %%
def network(growth: float) -> eq.MonotoneDEQ:
    """The network of the MNIST experiment, its A and B scaled."""
    deq = eq.MonotoneDEQ(
        INPUTS, FEATURES, generator=torch.Generator().manual_seed(0), rtol=1e-4, atol=1e-4, max_steps=MOST,
        on_failure="ignore",
    )  # fmt: skip
    with torch.no_grad():
        deq.linear.A.mul_(growth)
        deq.linear.B.mul_(growth)
    return deq


def steps(deq: eq.MonotoneDEQ, solver: eq.Solver, x: torch.Tensor) -> dict[str, Any]:
    """The most steps of a sample, forward and backward; None where a sample did not converge."""
    deq.solver = solver
    solution = deq.solve(x)
    solution.value.square().sum().backward()
    found = (solution, solution.adjoint)
    counts = [int(part.steps.max()) if bool(part.converged.all()) else None for part in found]
    return {"forward": counts[0], "backward": counts[1]}


def study(growth: float) -> dict[str, Any]:
    """Steps against α for every splitting."""
    deq = network(growth)
    x = torch.rand(BATCH, INPUTS, generator=torch.Generator().manual_seed(1))
    W = deq.linear.weight().detach().double()
    L = float(torch.linalg.matrix_norm(torch.eye(FEATURES) - W, 2))
    rows: dict[str, Any] = {"m": deq.m, "L": L, "limit": 2 * deq.m / L**2}
    for name, kind in SPLITTINGS.items():
        curve = [{"alpha": alpha, **steps(deq, kind(alpha), x)} for alpha in ALPHAS]
        alpha = kind().chosen(deq.m, L)
        rows[name] = {"curve": curve, "chosen": {"alpha": alpha, **steps(deq, kind(), x)}}
    deq.solver = eq.PeacemanRachford()
    rows["tuned"] = {"alpha": deq.tune(x), **steps(deq, deq.solver, x)}
    return rows


# %%
result = {"start": study(1.0), "grown": study(2.0 if SMOKE else 5.0)}
for name, rows in result.items():
    print(f"\n{name}: m = {rows['m']}, L = {rows['L']:.1f}, forward–backward is proved for α < {rows['limit']:.4f}")
    for splitting in SPLITTINGS:
        done = [point for point in rows[splitting]["curve"] if point["forward"] is not None]
        best = min(done, key=lambda point: point["forward"], default=None)
        chosen = rows[splitting]["chosen"]
        print(
            f"  {splitting:18s} converged for {len(done)} of {len(ALPHAS)} steps; "
            + (f"best α = {best['alpha']:.4f}: {best['forward']} forward; " if best else "")
            + f"chosen α = {chosen['alpha']:.4f}: {chosen['forward']} forward, {chosen['backward']} backward"
        )
    tuned = rows["tuned"]
    print(
        f"  tuned Peaceman–Rachford: α = {tuned['alpha']:.4f}: {tuned['forward']} forward, {tuned['backward']} backward"
    )

# %%
stored = store("monotone_alpha", result, output)
figure, all_axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
for axes, (name, title) in zip(
    all_axes, (("start", "as it starts"), ("grown", "weights five times as large")), strict=True
):
    rows = result[name]
    for colour, splitting in enumerate(SPLITTINGS):
        for direction, style in (("forward", "o-"), ("backward", "x--")):
            points = [p for p in rows[splitting]["curve"] if p[direction] is not None]
            axes.loglog(
                [p["alpha"] for p in points], [p[direction] for p in points], style, color=f"C{colour}", markersize=4,
                label=splitting if direction == "forward" else None,
            )  # fmt: skip
        chosen = rows[splitting]["chosen"]
        if chosen["forward"] is not None:
            axes.plot(chosen["alpha"], chosen["forward"], "*", color=f"C{colour}", markersize=14, markeredgecolor="k")
    axes.axvline(rows["limit"], color="C0", linewidth=0.8, linestyle=":")
    axes.set(xlabel="α", title=f"{title}: L/m = {rows['L'] / rows['m']:.0f}")
    axes.grid(alpha=0.3, which="both")
all_axes[0].set_ylabel("steps (solid: forward, dashed: backward)")
all_axes[0].legend()
if stored:
    figure.savefig(stored.with_suffix(".png"), dpi=110)
    print(f"\nwritten: {stored.name} and its plot in {stored.parent.name}/")

# %% [markdown]
# Stars: the step that eqnets chooses without a search, from m and L alone. Dotted: the proved limit of
# forward–backward, whose safe choice is then very slow where the weights have grown; on these data it still converges
# beyond it, and diverges further on. Peaceman–Rachford converges for every step, and its chosen one is near the best.
