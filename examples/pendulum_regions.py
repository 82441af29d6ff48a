# %% [markdown]
# # From where does the pendulum come back?
#
# The hanging pendulum θ'' = −sin θ − θ'/2 has one equilibrium every half turn, and a motor too weak to lift a pendulum
# holds it upright only from nearby: no claim about every pair of trajectories can hold, nor one about every start.
# What can be proved is a region around one equilibrium. With θ − sin θ (and the saturation of the motor) in a sector
# while its argument is bounded, a quadratic V gives an ellipsoid (circle criterion); with the neurons' integrals in V
# (Lur'e–Postnikov) the region bends along the energy. Beside them: the energy set {θ'²/2 + 1 − cos θ < 2}, whose area
# is 16, and the starts that come back in simulation without a swing beyond the other equilibrium.
#
#     python examples/pendulum_regions.py [-o FOLDER]

# %%
from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from record import SMOKE, store

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="Regions of attraction of two pendulums, proved and simulated.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
output = parser.parse_args().output

GRID, SECONDS, DT = (24, 30.0, 0.1) if SMOKE else (161, 80.0, 0.02)
TORQUE, GAINS, FRICTION = 0.6, (2.0, 1.0), 0.2

hanging = eq.plants.Pendulum(mass=1, length=1, gravity=1, damping=0.5, upright=False).lfr()
inverted = eq.LFR(  # φ'' = sin φ − 0.2 φ' − 0.6 sat((2 φ + φ')/0.6)
    A=[[0.0, 1.0], [1.0, -FRICTION]], B1=[[0.0, 0.0], [-1.0, -TORQUE]], B2=[[0.0], [1.0]],
    C1=[[1.0, 0.0], [GAINS[0] / TORQUE, GAINS[1] / TORQUE]], C2=[[1.0, 0.0]], D22=[[0.0]],
    activation=["sine_defect", "hardtanh"], dt=None,
)  # fmt: skip


# %%
def flow(lfr: eq.LFR, x: np.ndarray) -> np.ndarray:
    """The right-hand side ẋ at states (…, 2), without input."""
    w = lfr.activation(torch.from_numpy(x @ lfr.C1.numpy().T)).numpy()
    return x @ lfr.A.numpy().T + w @ lfr.B1.numpy().T


def trajectories(lfr: eq.LFR, x: np.ndarray, seconds: float = SECONDS) -> np.ndarray:
    """States (time, …, 2) by the Runge–Kutta method of order 4."""
    states = [x]
    for _ in range(round(seconds / DT)):
        k1 = flow(lfr, x)
        k2 = flow(lfr, x + DT / 2 * k1)
        k3 = flow(lfr, x + DT / 2 * k2)
        x = x + DT / 6 * (k1 + 2 * k2 + 2 * k3 + flow(lfr, x + DT * k3))
        states.append(x)
    return np.stack(states)


def border(found: Any) -> np.ndarray:
    """The border of a proved region, (181, 2)."""
    angles = np.linspace(0, 2 * np.pi, 181)
    d = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.array(found.point.x) + found.basin.radii(d)[:, None] * d


def comes_back(lfr: eq.LFR, limit: float, axes: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which starts of a grid come to the origin with |angle| below a limit all the way."""
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    stays = np.full(x.shape[:-1], True)
    for _ in range(round(SECONDS)):
        part = trajectories(lfr, x, 1.0)
        stays &= (np.abs(part[..., 0]) < limit).all(axis=0)
        x = part[-1]
    return stays & (np.abs(x).max(axis=-1) < 0.5)


# %%
def study(name: str, lfr: eq.LFR, limit: float, span: tuple[float, float], bounds: Any) -> dict[str, Any]:
    """Prove both regions, check their files, and simulate from their borders and from a grid.

    Args:
        name: for the printed lines.
        lfr: the pendulum.
        limit: of the angle, where the other equilibrium is.
        span: of the grid, angle and velocity.
        bounds: of a smoke run; else they are searched.

    Returns:
        The certificates, numbers and curves.
    """
    found: dict[str, Any] = {}
    try:
        eq.certify(eq.AbsoluteStability(multiplier="lure"), lfr)
    except eq.NotCertified as error:
        refused = str(error)
    print(f"{name}: from everywhere? {refused}")
    for label, multiplier in (("ellipsoid", "circle"), ("Lur'e–Postnikov", "lure")):
        certificate = eq.certify(eq.RegionOfAttraction(bound=bounds if SMOKE else None, multiplier=multiplier), lfr)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "region.cert.json"
            certificate.save(path)
            assert eq.verify(path, lfr) == certificate.claim
        edge = border(certificate)
        ends = trajectories(lfr, 0.99 * edge)
        inside = bool(certificate.contains(ends).all())
        found[label] = {
            "certificate": certificate, "area": certificate.volume, "bounds": list(certificate.bounds),
            "eta": certificate.numbers.eta.tolist(), "margin": certificate.margin,
            "trajectories_stay": inside, "largest_end": float(np.abs(ends[-1]).max()), "border": edge,
        }  # fmt: skip
        print(f"  {label:16s} area {certificate.volume:.4f}, bounds {certificate.bounds}, checked by eqnets-verify")
    axes = tuple(np.linspace(-s, s, GRID) for s in span)
    back = comes_back(lfr, limit, axes)
    cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
    found["simulated"] = {"area": float(back.sum() * cell), "axes": axes, "back": back}
    print(f"  simulated        area {back.sum() * cell:.2f}")
    return {"refused": refused, **found}


with_energy = study("hanging", hanging, math.pi, (4.6, 4.2), 2.4)
weak = study("inverted, weak motor", inverted, math.pi - math.asin(TORQUE), (2.6, 2.6), (0.9, 1.7))
energy = np.linspace(-np.pi, np.pi, 181)
energy_set = np.concatenate(
    [np.stack([s * energy, s * 2 * np.cos(energy / 2)], axis=1) for s in (1, -1)]
)  # ½θ'² = 1 + cos θ


def plain(part: dict[str, Any]) -> dict[str, Any]:
    """What of a study can be stored as numbers."""
    drop = ("certificate", "border", "axes", "back")
    return {
        key: {k: v for k, v in value.items() if k not in drop} if isinstance(value, dict) else value
        for key, value in part.items()
    }


# %%
result = {"hanging": {**plain(with_energy), "energy_area": 16.0}, "inverted": plain(weak)}
stored = store("pendulum_regions", result, output)
figure, all_axes = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
for axes, part, lfr, title in (
    (all_axes[0], with_energy, hanging, "hanging, damping 0.5"),
    (all_axes[1], weak, inverted, f"inverted, motor of {TORQUE} m g l"),
):
    first, second = part["simulated"]["axes"]
    X = np.stack(np.meshgrid(first, second, indexing="xy"), axis=-1)
    F = flow(lfr, X)
    axes.contourf(first, second, part["simulated"]["back"].T, levels=[0.5, 1.5], colors=["#dce9f5"])
    axes.streamplot(first, second, F[..., 0], F[..., 1], color="0.75", linewidth=0.5, arrowsize=0.6, density=1.3)
    labels = [("Lur'e–Postnikov", "C0", "-"), ("ellipsoid", "C1", "--")]
    for label, colour, style in labels:
        edge = part[label]["border"]
        axes.plot(
            edge[:, 0],
            edge[:, 1],
            color=colour,
            linestyle=style,
            linewidth=2,
            label=f"{label}: {part[label]['area']:.2f}",
        )
    if lfr is hanging:
        axes.plot(energy_set[:, 0], energy_set[:, 1], color="C2", linewidth=1.5, label="energy: 16")
    inside = 0.97 * part["Lur'e–Postnikov"]["border"][::36]
    outside = np.array([[0.8 * first[-1], 0.55 * second[-1]], [-0.8 * first[-1], -0.55 * second[-1]]])
    for starts, style in ((inside, "k-"), (outside, "r-")):
        states = trajectories(lfr, starts, 25.0)
        axes.plot(states[..., 0], states[..., 1], style, linewidth=0.9)
        axes.plot(starts[:, 0], starts[:, 1], style[0] + "o", markersize=4)
    axes.set(
        xlim=(first[0], first[-1]), ylim=(second[0], second[-1]), title=title, xlabel="angle in rad",
        ylabel="velocity in rad/s",
    )  # fmt: skip
    axes.legend(loc="upper right", title=f"area (shaded: simulated, {part['simulated']['area']:.1f})")
if stored:
    figure.savefig(stored.with_suffix(".png"), dpi=110)
    print(f"\nwritten: {stored.name} and its plot in {stored.parent.name}/")

# %% [markdown]
# Black: trajectories from the border of the proved region, which stay and arrive. Red: starts outside of it; what they
# do is not claimed, and some of them swing over. A region is no gain and no rate: it speaks of one equilibrium.
