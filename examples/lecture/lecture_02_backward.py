r"""
2 · One gradient for all root finders
=====================================

Backpropagation usually takes the route of the forward pass. An equilibrium has no route: by the implicit function
theorem its derivative follows from the equilibrium alone, whatever found it. The lecture writes, with
:math:`g_\theta(z) = f_\theta(z) - z`,

.. math::

   \frac{\partial \ell}{\partial (\cdot)} =
   -\frac{\partial \ell}{\partial h} \frac{\partial h}{\partial z^\star} J_{g_\theta}^{-1}
   \frac{\partial f_\theta(z^\star; x)}{\partial (\cdot)} .
"""

import torch
from matplotlib import pyplot as plt
from network import N_Z, Cell

import eqnets as eq

cell = Cell(seed=0, normal=False)
weight = cell.W_z.weight

# %%
# The formula, written out
# ------------------------
#
# With a dense Jacobian, for :math:`\ell = \tfrac12 |z^\star|^2`, so that :math:`\partial\ell/\partial z^\star =
# z^{\star\top}`.

z_star = eq.DEQ(cell, N_Z, rtol=1e-13, atol=1e-14)(cell.x).detach()
J_g = torch.autograd.functional.jacobian(lambda z: (cell(z, cell.x) - z)[0], z_star)[:, 0]
adjoint = -torch.linalg.solve(J_g.T, z_star[0])  # u with uᵀ = −zᵀ J_g⁻¹
(by_formula,) = torch.autograd.grad(cell(z_star, cell.x)[0] @ adjoint, weight)

# %%
# .. admonition:: Where the slide errs
#
#    It evaluates the inverse Jacobian "at x", of :math:`x^\star_{1:T}`. The derivative is by *z* and taken at the
#    equilibrium :math:`z^\star`; *x* has three entries here, *z* has ten.
#
# The effect of another point: with the Jacobian of the first layer's input, :math:`z = 0`, the gradient is another one.

J_0 = torch.autograd.functional.jacobian(lambda z: (cell(z, cell.x) - z)[0], torch.zeros_like(z_star))[:, 0]
(elsewhere,) = torch.autograd.grad(cell(z_star, cell.x)[0] @ -torch.linalg.solve(J_0.T, z_star[0]), weight)
difference = float((elsewhere - by_formula).norm() / by_formula.norm())
print(f"Jacobian at 0 instead of z*: relative difference {difference:.2f}")

# %%
# The same from every solver
# --------------------------

solvers = {
    "Picard": eq.Picard(), "Anderson": eq.Anderson(), "Broyden": eq.Broyden(), "Newton": eq.Newton(),
    "NewtonKrylov": eq.NewtonKrylov(), "SciPy, hybr": eq.ScipyRoot("hybr"), "SciPy, krylov": eq.ScipyRoot("krylov"),
}  # fmt: skip
print("solver           evaluations   relative difference of the gradient")
for name, solver in solvers.items():
    deq = eq.DEQ(cell, N_Z, solver=solver, rtol=1e-11, atol=1e-12, adjoint=eq.Implicit(rtol=1e-12, atol=1e-13))
    solution = deq.solve(cell.x)
    (gradient,) = torch.autograd.grad(solution.value.square().sum() / 2, weight)
    difference = float((gradient - by_formula).norm() / by_formula.norm())
    print(f"{name:15s}  {int(solution.steps):6d}        {difference:.1e}")
    assert difference < 1e-8, name

# %%
# A network of finite depth has the gradient of its depth
# -------------------------------------------------------
#
# It keeps every layer for it, and comes near the equilibrium's as the depth grows.

depths, differences = (1, 3, 10, 30, 60), []
for depth in depths:
    z = eq.FiniteDepth(cell, N_Z, depth)(cell.x)
    (gradient,) = torch.autograd.grad(z.square().sum() / 2, weight)
    differences.append(float((gradient - by_formula).norm() / by_formula.norm()))
    print(f"L = {depth:2d}: relative difference {differences[-1]:.1e}")

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.semilogy(depths, differences, "o-")
ax.set(xlabel="layers L", ylabel="relative difference", title="the gradient of L layers, and the equilibrium's")
ax.grid(alpha=0.3)

# %%
# What other adjoints give
# ------------------------
#
# Cheaper ones are asked for by name, and the result says that they are not exact.

for adjoint_ in (eq.Implicit(), eq.Unrolled(), eq.Phantom(steps=5), eq.JacobianFree()):
    solution = eq.DEQ(cell, N_Z, solver=eq.Picard(), adjoint=adjoint_, rtol=1e-11, atol=1e-12).solve(cell.x)
    (gradient,) = torch.autograd.grad(solution.value.square().sum() / 2, weight)
    difference = float((gradient - by_formula).norm() / by_formula.norm())
    print(f"{solution.adjoint.name:13s} exact: {solution.adjoint.exact!s:5s}  relative difference {difference:.1e}")
