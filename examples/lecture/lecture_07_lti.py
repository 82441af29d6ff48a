r"""
7 · A linear system with a nonlinear disturbance
================================================

A recurrent network and the pendulum have one form: a linear, time-invariant system whose input *w* is what a static
nonlinearity makes of its output *v*.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

import eqnets as eq


def block(ax: plt.Axes, x: float, y: float, width: float, height: float, text: str) -> None:
    """One box of the diagram."""
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.02", facecolor="0.95", edgecolor="k"))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=11)


def arrow(ax: plt.Axes, *points: tuple[float, float], text: str = "", at: tuple[float, float] = (0, 0)) -> None:
    """A line with an arrow at its end."""
    ax.plot(*zip(*points[:-1], strict=True), color="k", linewidth=1)
    ax.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "color": "k", "lw": 1})
    ax.text(*at, text, fontsize=11, style="italic")


figure, ax = plt.subplots(figsize=(6.5, 3.4), layout="constrained")
linear = "$x^+ = A x + B_1 w + B_2 u$\n$v = C_1 x + D_{11} w + D_{12} u$\n$y = C_2 x + D_{21} w + D_{22} u$"
block(ax, 1.2, 0.0, 2.6, 1.2, linear)
block(ax, 2.0, 1.7, 1.0, 0.55, r"$\varphi(\cdot)$")
arrow(ax, (3.8, 0.9), (4.4, 0.9), (4.4, 1.97), (3.02, 1.97), text="v", at=(4.45, 1.4))
arrow(ax, (2.0, 1.97), (0.6, 1.97), (0.6, 0.9), (1.18, 0.9), text="w", at=(0.4, 1.4))
arrow(ax, (0.2, 0.3), (1.18, 0.3), text="u", at=(0.25, 0.36))
arrow(ax, (3.8, 0.3), (4.8, 0.3), text="y", at=(4.6, 0.36))
ax.set(xlim=(0, 5), ylim=(-0.15, 2.45))
ax.axis("off")

# %%
# A recurrent network is one
# --------------------------
#
# torch's ``nn.RNN``, :math:`h^t = \tanh(W h^{t-1} + U u^t + b)` with the output :math:`y^t = V h^t`, whose state is
# :math:`h^{t-1}`: all of the dynamics is in the feedback, :math:`A = 0, B_1 = I, C_1 = W, D_{11} = 0, D_{12} = U,
# C_2 = 0, D_{21} = V, D_{22} = 0`.

torch.manual_seed(0)
net, readout = torch.nn.RNN(2, 5, batch_first=True).double(), torch.nn.Linear(5, 1, bias=False).double()
lfr = eq.LFR(
    A=0 * net.weight_hh_l0, B1=torch.eye(5, dtype=torch.float64), C1=net.weight_hh_l0, D12=net.weight_ih_l0,
    bv=net.bias_ih_l0 + net.bias_hh_l0, D21=readout.weight, activation="tanh",
).detach()  # fmt: skip
u = torch.randn(3, 50, 2, dtype=torch.float64)
with torch.no_grad():
    difference = float((eq.simulate(lfr, u)[0] - readout(net(u)[0])).abs().max())
print("largest difference over 3 × 50 steps:", difference)
assert difference < 1e-12

# %%
# .. admonition:: Where the slide errs
#
#    It writes, with the index 1 for *u* and *y* and 2 for *w* and *v*, "for :math:`A = B_1 = C_1 = D_{11}, D_{22} = 0,
#    B_2 = I`": the first four miss their "= 0", and *W*, *U* and *V* are not said at all (its :math:`C_2, D_{21}` and
#    :math:`D_{12}`). As printed, *A* is whatever :math:`B_1` is.
#
# The effect: another A, and the network is not the one of the figure.

for a in (0.0, 0.1, 0.5):
    printed = lfr.replace(A=a * torch.eye(5, dtype=torch.float64))
    with torch.no_grad():
        difference = float((eq.simulate(printed, u)[0] - readout(net(u)[0])).abs().max())
    print(f"A = {a} I: largest difference {difference:.1e}")

# %%
# The pendulum is one
# -------------------
#
# With :math:`\Delta(v) = v - \sin v` and Euler's step δ,
#
# .. math::
#
#    A = \begin{pmatrix} 1 & \delta \\ g\delta/l & 1 - \mu\delta/(m l^2) \end{pmatrix},\quad
#    B_1 = \begin{pmatrix} 0 \\ -g\delta/l \end{pmatrix} \text{ on } w,\quad
#    B_2 = \begin{pmatrix} 0 \\ \delta/(m l^2) \end{pmatrix} \text{ on } u.
#
# .. admonition:: Where the slide errs
#
#    It puts :math:`(0, -g\delta/l)` on **u** and :math:`(0, \delta/(m l^2))` on **w**: the two inputs are exchanged.
#    The torque then pushes with the force of gravity, and the sine's defect with that of the torque.

DT = 0.01
pendulum = eq.plants.Pendulum(mass=1.0, length=0.5, gravity=9.81, damping=0.5)
euler = pendulum.lfr(DT, method="euler")
slide = euler.replace(B1=euler.B2, B2=euler.B1)
torque = torch.full((1, 300, 1), 0.1, dtype=torch.float64)
truth = pendulum.simulate(torque, torch.tensor([0.05, 0.0]), DT)[0][0, :, 0]
start = torch.tensor([[0.05, 0.0]], dtype=torch.float64)
ours, last = eq.simulate(euler, torque, start)
theirs, last_slide = eq.simulate(slide, torque, start)
for whose, state in (("ours", last), ("the slide's", last_slide)):
    print(f"after 3 s, {whose}: angle {state[0, 0]:.4g} rad, velocity {state[0, 1]:.4g} rad/s")
print(f"after 3 s the differential equation has the angle {float(truth[-1]):.4f}, ours {float(ours[0, -1, 0]):.4f}")

clock = np.arange(300) * DT
figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
ax.plot(clock, truth, "k", linewidth=3, alpha=0.3, label="differential equation")
ax.plot(clock, ours[0, :, 0], "C0", label="as an LFR, Euler")
ax.plot(clock, theirs[0, :, 0], "C3--", label="with u and w exchanged, as on the slide")
ax.set(xlabel="t in s", ylabel="φ in rad", ylim=(-2, 8))
ax.legend(fontsize=8)
ax.grid(alpha=0.3)
assert float((truth - ours[0, :, 0]).abs().max()) < 0.5 < float(theirs.abs().max())

# %%
# "Stability depends on the eigenvalues of A"
# -------------------------------------------
#
# Of a linear system. In feedback they are not the whole story: here A is Schur stable, with the eigenvalues ±0.5, and
# w = 0 at v = 0, yet the origin is unstable, because the feedback adds :math:`B_1 C_1` to A for small v.

A = torch.tensor([[0.5, 0.0], [0.0, -0.5]], dtype=torch.float64)
schur = eq.LFR(A=A, B1=[[1.0], [0.0]], C1=[[0.8, 0.0]], C2=[[1.0, 0.0]], B2=[[0.0], [0.0]], activation="tanh", dt=1.0)
start = torch.tensor([[0.01, 0.0]], dtype=torch.float64)
path, _ = eq.simulate(schur, torch.zeros(1, 60, 1, dtype=torch.float64), start)
print("eigenvalues of A:", torch.linalg.eigvals(A).real.tolist())
print("spectral radius with the feedback's slope at 0:", eq.linearise(schur).spectral_radius())
print(f"from 0.01 the state goes to {float(path[0, -1, 0]):.4f}, and from −0.01 to its mirror image")
assert abs(float(path[0, -1, 0])) > 1
try:
    eq.certify(eq.Contracting(1.0), schur)
except eq.NotCertified as reason:
    print(reason)

# %%
# The other way round, the upright pendulum's A is unstable (an eigenvalue above 1) although its model is right.

print("upright, eigenvalues of A:", [f"{v:.4f}" for v in torch.linalg.eigvals(euler.A).real.tolist()])
