# %% [markdown]
# # The lecture's example: when does a deep network become an equilibrium?
#
# A weight-tied network with its input injected at every layer,
# $$z^{l+1} = \tanh(W_z z^l + U_z x + b_z), \qquad z^0 = 0,$$
# has $T = 3$ inputs and $n_z = 10$ neurons. The deep equilibrium network (Bai, Kolter & Koltun, NeurIPS 2019) skips the
# layers and asks for $z^\star = \tanh(W_z z^\star + U_z x + b_z)$ itself. Any root finder may answer; the lecture uses
# `scipy.optimize.fsolve`. We ask four things, over many seeds:
#
# 1. how fast $\lVert z^L - z^\star\rVert$ falls with the depth $L$ when the weights are those of `torch.nn.Linear`,
# 2. whether `fsolve` and `eqnets` find the same $z^\star$,
# 3. what happens with standard-normal weights, where nothing contracts,
# 4. whether anybody tells us.
#
#     python examples/deq_lecture.py [-o FOLDER]

# %%
from __future__ import annotations

import argparse
import statistics
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import torch
from lecture.network import N_Z, Cell, by_fsolve
from record import SMOKE, store

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="The lecture's deep equilibrium example.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
output = parser.parse_args().output

DEPTHS = [0, 1, 2, 3, 4, 10, 20, 30]
SEEDS = 10 if SMOKE else 100


# %% [markdown]
# The cell, and `by_fsolve`, the lecture's listing 2 with a tolerance that is worth comparing, stand in
# `lecture/network.py`. `torch.nn.Linear` draws weights from ±1/√10, so that the spectral radius of $W_z$ is near 0.58;
# the lecture's "added line 2" draws them from a standard normal, with a spectral radius near √10.


# %%
def study(normal: bool) -> dict:
    """Everything about one kind of weights, over the seeds."""
    distances: list[list[float]] = []
    agreement: list[float] = []
    count = {"fsolve": 0, "picard": 0, "newton": 0, "auto": 0}
    told: list[str] = []
    for seed in range(SEEDS):
        cell = Cell(seed, normal)
        z_star, is_root = by_fsolve(cell)
        count["fsolve"] += is_root
        with warnings.catch_warnings(record=True) as caught, torch.no_grad():
            warnings.simplefilter("always")
            tight = {"rtol": 1e-13, "atol": 1e-14}
            picard = eq.DEQ(cell, N_Z, solver=eq.Picard(), **tight).solve(cell.x)
        told += [str(w.message) for w in caught if issubclass(w.category, eq.NotConvergedWarning)]
        count["picard"] += bool(picard.converged)
        with torch.no_grad():  # asked for by name: here the status is what we look at
            newton = eq.DEQ(cell, N_Z, solver=eq.Newton(), on_failure="ignore", **tight).solve(cell.x)
            auto = eq.DEQ(cell, N_Z, on_failure="ignore", **tight).solve(cell.x)
        count["newton"] += bool(newton.converged)
        count["auto"] += bool(auto.converged)
        if not is_root:
            continue
        if picard.converged:
            agreement.append(float((picard.value - z_star).norm()))
        with torch.no_grad():
            distances.append([float((eq.FiniteDepth(cell, N_Z, L)(cell.x) - z_star).norm()) for L in DEPTHS])
    return {
        "seeds": SEEDS,
        "depths": DEPTHS,
        "median_distance": [statistics.median(column) for column in zip(*distances, strict=True)],
        "quartiles": [np.quantile(column, [0.25, 0.75]).tolist() for column in zip(*distances, strict=True)],
        "found_a_root": count,
        "compared_with_fsolve": len(agreement),
        "same_root_as_fsolve": sum(difference < 1e-10 for difference in agreement),
        "largest_difference_to_fsolve": max(agreement, default=float("nan")),
        "warnings": len(told),
        "first_warning": told[0] if told else None,
    }


# %% [markdown]
# ## What the seeds say

# %%
result = {"default": study(normal=False), "normal": study(normal=True)}
for name, title in (("default", "torch.nn.Linear's weights"), ("normal", "standard-normal weights")):
    part = result[name]
    print(f"\n{title}, medians of {SEEDS} seeds")
    for L, distance in zip(DEPTHS, part["median_distance"], strict=True):
        print(f"  layers {L:3d}   ‖z^L − z*‖ = {distance:.4g}")
    found = ", ".join(f"{solver} {n}" for solver, n in part["found_a_root"].items())
    print(f"  found a root: {found} of {SEEDS}")
    print(
        f"  where both iteration and fsolve did: the same root within 1e-10 {part['same_root_as_fsolve']} times of "
        f"{part['compared_with_fsolve']}, largest difference {part['largest_difference_to_fsolve']:.1e}"
    )
    if part["warnings"]:
        print(f"  {part['warnings']} times we were told, for example: {part['first_warning']}")

# %% [markdown]
# With the default weights the network contracts: depth 30 is the equilibrium for every practical purpose, and `fsolve`
# and `eqnets` agree to rounding error. With standard-normal weights an equilibrium still exists (tanh maps the cube
# into itself), but depth does not lead to it: the distance grows to that of two unrelated points and stays there. The
# iteration says so in a warning with its status; a root finder that uses the Jacobian may still find a root, one of
# several, and a network of any depth is then something else than its equilibrium.

# %%
stored = store("deq_lecture", result, output)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, label, colour in (("default", "torch.nn.Linear", "C0"), ("normal", "standard normal", "C3")):
    low, high = zip(*result[name]["quartiles"], strict=True)
    axes.semilogy(DEPTHS, result[name]["median_distance"], "o-", color=colour, label=f"{label} weights")
    axes.fill_between(DEPTHS, low, high, color=colour, alpha=0.2, linewidth=0)
axes.set(xlabel="layers L", ylabel="‖z$^L$ − z*‖", title=f"Depth and equilibrium: median, quartiles of {SEEDS} seeds")
axes.grid(alpha=0.3)
axes.legend()
if stored:
    figure.savefig(stored.with_suffix(".png"), dpi=110)
    print(f"\nwritten: {stored.name} and its plot in {stored.parent.name}/")
