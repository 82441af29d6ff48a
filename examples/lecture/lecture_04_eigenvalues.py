r"""
4 · Which eigenvalues?
======================

The lecture tabulates "min EW of :math:`(I - W_z)`" beside the distance of forty layers to the equilibrium, for ten
draws of each kind of weights.

.. admonition:: Where the slide errs

   Its numbers are the smallest **real part of the eigenvalues** of the matrix :math:`I - W_z`, which is not
   symmetric. Monotonicity, :math:`I - W_z \succeq m I`, speaks of the **symmetric part**:
   :math:`\lambda_{\min}\left(I - \tfrac12 (W_z + W_z^\top)\right) \ge m`. The real parts are never smaller than that,
   so the table flatters; below is a network with all real parts positive and three equilibria.
"""

import torch
from matplotlib import pyplot as plt
from network import N_Z, Cell, by_fsolve, margin, radius

import eqnets as eq

LAYERS, DRAWS = 40, 10


def smallest_real_part(W: torch.Tensor) -> float:
    """What the slide calls the minimal eigenvalue of I − W."""
    return float(torch.linalg.eigvals(torch.eye(len(W), dtype=W.dtype) - W).real.min())


points = {}
for normal, title in ((False, "torch.nn.Linear's weights"), (True, "standard-normal weights")):
    print(f"{title}\n  draw   min Re EW(I − W)   λ_min of symmetric part   ρ(W)   ‖z^{LAYERS} − z*‖")
    points[title] = []
    for seed in range(DRAWS):
        cell = Cell(seed, normal)
        W = cell.W_z.weight.detach()
        z_star, is_root = by_fsolve(cell)
        with torch.no_grad():
            distance = float((eq.FiniteDepth(cell, N_Z, LAYERS)(cell.x) - z_star).norm())
        words = f"{distance:.2e}" if is_root else "fsolve finds no root"
        print(
            f"  {seed:4d}   {smallest_real_part(W):10.3f}         {margin(W):10.3f}            {radius(W):6.2f}"
            f"  {words}"
        )
        points[title].append((smallest_real_part(W), margin(W)))
        assert margin(W) <= smallest_real_part(W) + 1e-12

# %%
figure, axes = plt.subplots(figsize=(5.5, 4), layout="constrained")
for (title, pairs), colour in zip(points.items(), ("C0", "C3"), strict=True):
    axes.plot(*zip(*pairs, strict=True), "o", color=colour, label=title)
axes.axline((0, 0), slope=1, color="0.6", linewidth=1, label="equal: a symmetric W")
axes.axhline(0, color="k", linewidth=0.8)
axes.set(xlabel="smallest real part of the eigenvalues of I − W", ylabel="λ$_{min}$ of its symmetric part")
axes.legend(fontsize=8)
axes.grid(alpha=0.3)

# %%
# The effect: positive real parts, three equilibria
# -------------------------------------------------
#
# Two neurons. The second calms the first as long as it listens; a large bias saturates it, and the first, which excites
# itself with weight 2, is left alone.

W = torch.tensor([[2.0, -3.0], [3.0, -3.0]], dtype=torch.float64)
b = torch.tensor([3.0, 8.0], dtype=torch.float64)
print(f"min Re EW(I − W) = {smallest_real_part(W):.2f},  λ_min of the symmetric part = {margin(W):.2f}")

starts = torch.tensor([[-0.95, 1.0], [0.02, 1.0], [0.95, 1.0]], dtype=torch.float64)
found = eq.fixed_point(lambda z: torch.tanh(z @ W.T + b), starts, solver=eq.Newton(), rtol=1e-12, atol=1e-13)
for z, converged, residual in zip(found.value, found.converged, found.residual, strict=True):
    print(f"equilibrium at ({float(z[0]):+.4f}, {float(z[1]):+.4f}): {bool(converged)}, residual {float(residual):.1e}")
assert torch.cdist(found.value, found.value).add(torch.eye(3)).min() > 0.5  # three different ones

# %%
# The claim that this network is monotone is refused, with the reason.

identity = torch.eye(2, dtype=torch.float64)
network = eq.LFR(D11=W, D12=identity, bv=b, D21=identity, D22=0 * identity, activation="tanh")
try:
    eq.certify(eq.Monotone(0.1), network)
except eq.NotCertified as reason:
    print(reason)
