r"""
11 · Dissipativity, as a certificate
====================================

The lecture ends with Willems (1972): a system is dissipative if the energy that it stores never grows by more than
what is supplied to it. For two trajectories, with :math:`V = \Delta x^\top P \Delta x`,

.. math::

   V(\Delta x^{+}) \le V(\Delta x) + \Delta y^\top Q \Delta y + 2 \Delta u^\top S \Delta y + \Delta u^\top R \Delta u .

One matrix inequality proves it, and everything else that eqnets promises: contraction, a gain, passivity.
"""

import torch
from matplotlib import pyplot as plt

import eqnets as eq

plant = eq.plants.Pendulum(mass=0.5, length=0.4, gravity=9.81, damping=0.02, kp=40.0, kd=12.0)
DT = 0.05
lfr = plant.lfr(DT, method="midpoint")

# %%
# A gain
# ------
#
# The smallest that can be proved, and the best counterexample that was found: the true gain lies between the two.

gain = eq.tighten(eq.Lipschitz(10.0, u_scale=(1.0,), y_scale=(1.0,)), lfr)
attained = eq.lower_bound(gain.claim, lfr, time=160, tries=3)
held = 1 / (plant.inertia * (plant.kp - plant.stiffness_of_gravity))
print(f"gain from torque to angle: between {attained.attained:.4f} and {gain.claim.gamma:.6f} rad/(N·m)")
print(f"physics: a small torque that is held moves the angle by {held:.6f} rad/(N·m) around upright")
print(gain.sentence)
assert attained.attained <= held <= gain.claim.gamma <= 1.001 * held

# %%
# The storage along two trajectories
# ----------------------------------
#
# With the supply of that gain, :math:`s = \gamma^2 |\Delta u|^2 - |\Delta y|^2`: what is stored never exceeds what
# was supplied.

gamma, P = gain.claim.gamma, gain.witness.P
generator = torch.Generator().manual_seed(0)
u = 3 * torch.randn(2, 160, 1, generator=generator, dtype=torch.float64).cumsum(1) / 10
x = torch.zeros(2, 2, dtype=torch.float64)
stored, supplied, total = [0.0], [0.0], 0.0
scale = float(gain.witness.supply.R[0, 0]) / gamma**2 if gain.witness.supply is not None else 1.0
for t in range(u.shape[1]):
    y, x = eq.simulate(lfr, u[:, t : t + 1], x)
    du, dy, dx = (u[0, t] - u[1, t]), (y[0, 0] - y[1, 0]), x[0] - x[1]
    total += scale * float(gamma**2 * du @ du - dy @ dy)
    stored.append(float(dx @ P @ dx))
    supplied.append(total)
assert all(v <= s + 1e-9 for v, s in zip(stored, supplied, strict=True))

figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
clock = DT * torch.arange(len(stored))
ax.plot(clock, supplied, "k--", label="supplied so far: Σ s")
ax.plot(clock, stored, "C0", label="stored: V = ΔxᵀPΔx")
ax.fill_between(clock, stored, supplied, color="C0", alpha=0.15, linewidth=0, label="dissipated")
ax.set(xlabel="t in s", title="two trajectories of the controlled pendulum")
ax.legend(fontsize=8)

# %%
# Any supply
# ----------
#
# ``Dissipative(Q, S, R)`` takes the matrices. Passivity from torque to **angle** asks that the pendulum never answers
# against its torque; it lags behind it, so that needs a surplus of input, :math:`\nu < 0`. How much is enough is a
# number:

for shortage in (-1.0, -0.5, -0.2, -0.1, -0.05):
    try:
        print(f"ν = {shortage}: proved,", eq.certify(eq.Passive(input_strict=shortage), lfr).method)
    except eq.NotCertified:
        print(f"ν = {shortage}: not proved")

# %%
# Anybody may check
# -----------------
#
# The certificate is a file. ``eqnets-verify`` rebuilds the inequality in integers from the bits of the matrices, with
# nothing but Python's standard library.

import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    gain.save(Path(folder) / "certificate.json")
    print("verified:", eq.verify(Path(folder) / "certificate.json", lfr))
    print("size:", (Path(folder) / "certificate.json").stat().st_size, "bytes")
