r"""
6 · The inverted pendulum
=========================

:math:`m l^2 \ddot\varphi = m g l \sin\varphi - \mu\dot\varphi + u`, with the angle :math:`\varphi` from upright: the
lecture's example of system identification. Its state is the angle and the angular velocity, its input a torque, its
output the angle.
"""

import numpy as np
import torch
from matplotlib import animation
from matplotlib import pyplot as plt
from record import SMOKE

import eqnets as eq

pendulum = eq.plants.Pendulum(mass=1.0, length=0.5, gravity=9.81, damping=0.2)
DT = 0.04

# %%
# It falls
# --------
#
# From one degree beside upright, without torque; ▶ lets it fall.

steps = 60 if SMOKE else 200
start = torch.tensor([np.deg2rad(1.0), 0.0])
angle = pendulum.simulate(torch.zeros(1, steps, 1), start, DT)[0][0, :, 0].numpy()

figure, axes = plt.subplots(figsize=(3.4, 3.4), layout="constrained")
axes.set(xlim=(-0.6, 0.6), ylim=(-0.6, 0.6), aspect="equal", xticks=[], yticks=[])
axes.axhline(0, color="0.8", linewidth=1)
(rod,) = axes.plot([], [], "o-", color="C0", linewidth=3, markersize=10, markevery=[1])
clock = axes.text(0.02, 0.95, "", transform=axes.transAxes)


def draw(k: int) -> tuple:
    """One frame."""
    x, y = pendulum.length * np.sin(angle[k]), pendulum.length * np.cos(angle[k])
    rod.set_data([0, x], [0, y])
    clock.set_text(f"{k * DT:.2f} s")
    return rod, clock


film = animation.FuncAnimation(figure, draw, frames=range(0, steps, 3 if SMOKE else 2), interval=80, blit=True)

# %%
# Phase portrait
# --------------
#
# Without torque there are two kinds of equilibria: upright, a saddle, where one eigenvalue of the linearised sampled
# system is outside of the unit circle, and hanging, where both are inside.

sampled = pendulum.lfr(DT, method="midpoint")
closed = eq.plants.Pendulum(mass=1.0, length=0.5, gravity=9.81, damping=0.2, kp=40.0, kd=6.0)
for name, phi in (("upright", 0.0), ("hanging", np.pi)):
    values = torch.linalg.eigvals(eq.linearise(sampled, x=torch.tensor([phi, 0.0], dtype=torch.float64)).A)
    stable = bool((values.abs() < 1).all())
    words = ", ".join(f"{complex(value):.3f}" for value in values)
    print(f"{name}: eigenvalues {words}: {'stable' if stable else 'unstable'}")
    assert stable == (name == "hanging")

grid = np.meshgrid(np.linspace(-7, 7, 40), np.linspace(-14, 14, 40))
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for ax, plant, title in ((axes[0], pendulum, "free"), (axes[1], closed, "under a PD controller")):
    velocity = grid[1]
    acceleration = (
        plant.stiffness_of_gravity * np.sin(grid[0]) - plant.kp * grid[0] - plant.total_damping * grid[1]
    )  # fmt: skip
    ax.streamplot(*grid, velocity, acceleration, density=1.1, linewidth=0.6, color="0.6", arrowsize=0.7)
    if plant.kp == 0:
        ax.plot([-np.pi, np.pi], [0, 0], "o", color="C2", label="stable")
        ax.plot([-2 * np.pi, 0, 2 * np.pi], [0, 0, 0], "X", color="C3", markersize=9, label="unstable")
    else:
        ax.plot(0, 0, "o", color="C2", label="stable, the only one")
    ax.set(xlabel="φ in rad", title=title, xlim=(-7, 7), ylim=(-14, 14))
    ax.legend(loc="upper right", fontsize=8)
axes[0].plot(angle, np.gradient(angle, DT), color="C0", linewidth=1.5)
axes[0].set_ylabel("φ' in rad/s")

# %%
# A model that contracts forgets where it started, so it has one equilibrium for every constant torque. The free
# pendulum has two: **no contracting model fits it globally**, whatever its size. Under a controller with kp > g/l and
# enough damping it contracts, and that can be proved:

print("free:", pendulum.is_contracting(), "| under control:", closed.is_contracting())
certificate = eq.certify(eq.Contracting(0.0), closed.lfr(), closed.witness())
print(certificate.sentence)
