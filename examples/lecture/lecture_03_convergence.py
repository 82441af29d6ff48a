r"""
3 · Does depth always lead to the equilibrium?
==============================================

The lecture compares :math:`z^L` with :math:`z^\star` for one draw of the default weights, and for one draw of
standard-normal weights ("added line 2").

.. admonition:: Where the slides err

   The numbers are labelled as **squared** norms and come from **one unseeded draw** each; another run gives other
   numbers, and nothing says whether they are typical. Here are medians and quartiles over seeds, of the norm and of
   its square, beside the slides'.
"""

import statistics

import numpy as np
import torch
from matplotlib import pyplot as plt
from network import N_Z, Cell, by_fsolve, margin, radius
from record import SMOKE

import eqnets as eq

DEPTHS = [0, 1, 2, 3, 4, 10, 20, 30]
SLIDES = {
    "default": [0.7032, 0.3898, 0.2898, 0.1621, 0.09451, 0.001685, 7.595e-06, 7.069e-08],
    "normal": [0.4664, 0.332, 1.035, 1.834, 2.348, 2.75, 2.724, 2.927],
}
SEEDS = 10 if SMOKE else 100


@torch.no_grad()
def distances(normal: bool) -> np.ndarray:
    """‖z^L − z*‖ by seed and depth; seeds for which fsolve finds no root are left out."""
    rows = []
    for seed in range(SEEDS):
        cell = Cell(seed, normal)
        z_star, is_root = by_fsolve(cell)
        if is_root:
            rows.append([float((eq.FiniteDepth(cell, N_Z, L)(cell.x) - z_star).norm()) for L in DEPTHS])
    return np.array(rows)


found = {name: distances(name == "normal") for name in SLIDES}
for name, rows in found.items():
    print(f"{name} weights, {len(rows)} roots from {SEEDS} seeds\n   L   median ‖·‖   median ‖·‖²   the slide")
    for depth, column, slide in zip(DEPTHS, rows.T, SLIDES[name], strict=True):
        print(f"  {depth:2d}   {statistics.median(column):.3e}    {statistics.median(column**2):.3e}    {slide:.3e}")

# %%

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, rows), colour in zip(found.items(), ("C0", "C3"), strict=True):
    low, middle, high = np.quantile(rows, [0.25, 0.5, 0.75], axis=0)
    axes.semilogy(DEPTHS, middle, "o-", color=colour, label=f"{name} weights: median, quartiles")
    axes.fill_between(DEPTHS, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.semilogy(DEPTHS, SLIDES[name], "x", color=colour, label="the slide, as printed")
axes.set(xlabel="layers L", ylabel="‖z$^L$ − z*‖")
axes.grid(alpha=0.3)
axes.legend(fontsize=8)

# %%
# The printed numbers fall by 0.58 a layer between L = 10 and L = 20, which is the spectral radius that such weights
# have; a squared norm would fall by its square, 0.34. They look like the norm itself. Here is what each of our draws
# does:

ten, twenty = DEPTHS.index(10), DEPTHS.index(20)
rates = (found["default"][:, twenty] / found["default"][:, ten]) ** 0.1
slide = (SLIDES["default"][twenty] / SLIDES["default"][ten]) ** 0.1
low, middle, high = np.quantile(rates, [0.25, 0.5, 0.75])
print(f"decay per layer: the norm {middle:.2f} (quartiles {low:.2f}, {high:.2f}), its square {middle**2:.2f}")
print(f"the slide's numbers: {slide:.2f}")

# %%
# With the default weights depth leads to the equilibrium. With normal ones it does not, although an equilibrium
# exists (tanh maps a cube into itself). The twin in ``examples/deq_lecture.py`` counts over a hundred seeds which
# solver finds one.
#
# A non-monotone network that converges all the same
# --------------------------------------------------
#
# Monotonicity is sufficient, not necessary. This W has zeros on and below its diagonal: whatever stands above, ten
# layers reach the equilibrium **exactly**. Its :math:`I - W` is far from monotone, and every eigenvalue of W is zero.

cell = Cell(seed=0, normal=True)
with torch.no_grad():
    cell.W_z.weight.copy_(3 * cell.W_z.weight.triu(1))
    z_star, is_root = by_fsolve(cell)
    W = cell.W_z.weight
    print(
        f"λ_min of the symmetric part {margin(W):.2f}, spectral radius {radius(W):.1f}, fsolve found a root: {is_root}"
    )
    exact = eq.FiniteDepth(cell, N_Z, N_Z)(cell.x)
    for depth in (0, 2, 4, 6, 8, 10):
        print(f"L = {depth:2d}: ‖z^L − z*‖ = {float((eq.FiniteDepth(cell, N_Z, depth)(cell.x) - exact).norm()):.2e}")
    assert torch.equal(cell(exact, cell.x), exact)
