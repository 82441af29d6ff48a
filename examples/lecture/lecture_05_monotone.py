r"""
5 · Monotone networks
=====================

An equilibrium of :math:`z = \sigma(W z + U x + b)` is a zero of :math:`F + G` with :math:`F(z) = (I - W) z - (U x +
b)` and :math:`G = \partial f`, :math:`\sigma = \operatorname{prox}_f`. If :math:`F` is strongly monotone, there is
exactly one.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from network import N_Z, T, margin, radius
from record import SMOKE

import eqnets as eq

# %%
# The scalar picture: slope 1 − w
# -------------------------------
#
# .. admonition:: Where the slide errs
#
#    It writes :math:`F_{scal}(z) = (1 - w) z + (u x + b)`. With F as defined two slides before, the sign is
#    **minus**: :math:`F_{scal}(z) = (1 - w) z - (u x + b)`. The slope, and so monotonicity, are the same; the zero is
#    at its mirror image.

w, injected = 0.5, 1.0
zero, slide = injected / (1 - w), -injected / (1 - w)
print(f"linear cell z = {w} z + {injected}: the equilibrium is {zero:+.1f}; the slide's line is zero at {slide:+.1f}")
assert w * zero + injected == zero != w * slide + injected

z = np.linspace(-2, 4, 200)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for w_, colour in ((-1.0, "C0"), (0.5, "C2"), (1.0, "C1"), (1.6, "C3")):
    left.plot(z, (1 - w_) * z - injected, color=colour, label=f"w = {w_}: slope {1 - w_:g}")
left.plot(z, (1 - w) * z + injected, ":", color="C2", label="the slide's sign, w = 0.5")
left.axhline(0, color="k", linewidth=0.8)
left.set(xlabel="z", title="F(z) = (1 − w) z − (ux + b)", ylim=(-4, 4))
left.legend(fontsize=7)
for w_, colour in ((0.5, "C2"), (1.6, "C3")):
    right.plot(z, np.tanh(w_ * z), color=colour, label=f"tanh({w_} z)")
right.plot(z, z, "k", linewidth=0.8, label="z")
right.set(xlabel="z", title="w < 1: one crossing; w > 1: three", xlim=(-2, 2), ylim=(-1.3, 1.3))
right.legend(fontsize=8)

# %%
# Free parameters
# ---------------
#
# :math:`W = (1 - m) I - A^\top A + B - B^\top` has :math:`\lambda_{\min}` of the symmetric part of :math:`I - W` at
# least m, whatever A and B. Here they are as large as those of the normal draws of page 3, which had no equilibrium
# that iteration finds. Forty layers miss it here too; Peaceman–Rachford finds it, and says how far the answer is from
# it at most.

print("draw   λ_min   ρ(W)   40 layers: ‖z − f(z)‖   splitting: steps   ‖z − z*‖ at most")
for seed in range(10):
    generator = torch.Generator().manual_seed(seed)
    kind = {"generator": generator, "dtype": torch.float64}
    deq = eq.MonotoneDEQ(T, N_Z, m=1.0, activation="tanh", rtol=1e-12, atol=1e-13, **kind)
    with torch.no_grad():
        for parameter in (deq.linear.A, deq.linear.B):
            parameter.copy_(torch.randn(N_Z, N_Z, **kind))
        x = torch.randn(1, T, **kind)
        W, injection = deq.linear.weight(), x @ deq.U.T + deq.b
        layers = torch.zeros(1, N_Z, dtype=torch.float64)
        for _ in range(40):
            layers = torch.tanh(layers @ W.T + injection)
        residual = float((layers - torch.tanh(layers @ W.T + injection)).norm())
        solution = deq.solve(x)
    print(
        f"{seed:4d}   {margin(W):5.2f}   {radius(W):5.1f}          {residual:.1e}            "
        f"    {int(solution.steps):4d}            {float(solution.bound):.1e}"
    )
    assert margin(W) > 1 - 1e-9 and bool(solution.converged)

# %%
# How many steps, for which step size?
# ------------------------------------
#
# Forward–backward is proved to converge for :math:`\alpha < 2m/L^2` only; the other two converge for every
# :math:`\alpha`.

alphas = np.logspace(-2.5, 1, 8 if SMOKE else 22)
most = 500 if SMOKE else 3000
with torch.no_grad():
    for parameter in (deq.linear.A, deq.linear.B):
        parameter.mul_(0.25)  # as at the start of a training
    W = deq.linear.weight()
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for splitting in (eq.ForwardBackward, eq.PeacemanRachford, eq.DouglasRachford):
    counts = []
    for alpha in alphas:
        deq.solver, deq.max_steps, deq.on_failure = splitting(alpha=float(alpha)), most, "ignore"
        with torch.no_grad():
            solution = deq.solve(x)
        counts.append(int(solution.steps) if solution.converged else np.nan)
    axes.loglog(alphas, counts, "o-", label=splitting.__name__)
L = float(torch.linalg.matrix_norm(torch.eye(N_Z, dtype=torch.float64) - W, 2))
axes.axvline(2 / L**2, color="C0", linestyle=":", label="2m/L²")
axes.axvline(eq.PeacemanRachford().chosen(1.0, L), color="C1", linestyle=":", label="eqnets' choice")
axes.set(xlabel="α", ylabel="steps", title=f"Steps to 10⁻¹² of one network, at most {most}")
axes.legend(fontsize=8)
axes.grid(alpha=0.3)
