"""The region {V < 1, |v − v*| < z} as a set: membership, its radius in a direction, its volume, and how that changes.

The set is star-shaped about its equilibrium (see `lure`). With r(d) its reach in units of a direction d, the volume is
∫ rⁿ dω / n over a sphere in any coordinates; where V changes by δV, it changes by −∫ r^(n−1) δV(r d)/∂_r V dω. Nothing
here proves anything: P, η and z describe the set exactly, its volume is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from eqnets.certification.enclosure import Array
from eqnets.system.elementwise import Nonlinearity

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_NODES, _WEIGHTS = (_NODES + 1) / 2, _WEIGHTS / 2


@dataclass(frozen=True, eq=False)
class Basin:
    """A set {V < 1, |C s| < z} of deviations s from an equilibrium.

    Args:
        P: (nx, nx).
        eta: (nv,).
        floor: (nx, nx) the P' with V ≥ sᵀP's.
        C: (nv, nx), from the deviation to the neurons' arguments.
        v: (nv,) the arguments at the equilibrium.
        bounds: (nv,) z, inf where there is none.
        parts: the nonlinearity of each neuron.
    """

    P: Array
    eta: Array
    floor: Array
    C: Array
    v: Array
    bounds: Array
    parts: Sequence[Nonlinearity]

    def value(self, s: Array) -> Array:
        """V at deviations s (…, nx)."""
        return np.einsum("...i,ij,...j->...", s, self.P, s) + 2 * self.integrals(s @ self.C.T) @ self.eta

    def integrals(self, s: Array) -> Array:
        """∫₀ˢ (φ(v + σ) − φ(v)) dσ of every neuron, s (…, nv)."""
        way = self._gain(s[..., None] * _NODES)
        return s * (way @ _WEIGHTS)

    def contains(self, s: Array) -> NDArray[np.bool_]:
        """Whether deviations s (…, nx) lie in the set."""
        return (np.abs(s @ self.C.T) < self.bounds).all(axis=-1) & (self.value(s) < 1)

    def radii(self, directions: Array) -> Array:
        """How far the set reaches in each direction (m, nx), in units of the direction."""
        with np.errstate(divide="ignore"):
            reach = (self.bounds / np.abs(directions @ self.C.T)).min(axis=1, initial=np.inf)
        high = np.minimum(reach, 1 / np.sqrt(np.einsum("mi,ij,mj->m", directions, self.floor, directions)))
        low, r = np.zeros_like(high), high
        for _ in range(14):  # V grows along a ray, about as r²
            value = self.value(r[:, None] * directions)
            low, high = np.where(value < 1, r, low), np.where(value < 1, high, r)
            with np.errstate(all="ignore"):
                r = r / np.sqrt(value)
            r = np.where((low <= r) & (r <= high), r, (low + high) / 2)
        return r

    def volume(self) -> float:
        """The area (nx = 2), or n-dimensional volume, in the units of the state."""
        n = len(self.P)
        sphere = 2 * math.pi ** (n / 2) / math.gamma(n / 2)
        return sphere / n * float(np.mean(self.radii(self._directions()) ** n)) / math.sqrt(np.linalg.det(self.floor))

    def gradient(self) -> tuple[Array, Array]:
        """What the volume loses, up to a common factor, for P (nx, nx) and for the integrals that η multiplies."""
        D = self._directions()
        r = self.radii(D)
        s = r[:, None] * D
        slope = 2 * np.einsum("mi,ij,mj->m", D, self.P, s)
        slope += 2 * np.einsum("mi,mi,i->m", self._gain((s @ self.C.T)[..., None])[..., 0], D @ self.C.T, self.eta)
        weight = r ** (len(self.P) - 1) / slope
        weight /= weight.sum()
        return np.einsum("m,mi,mj->ij", weight, s, s), 2 * weight @ self.integrals(s @ self.C.T)

    def _directions(self) -> Array:
        """Directions (m, nx) in which the ellipsoid sᵀP's < 1 reaches equally far: the sphere, in its coordinates."""
        sphere = np.linalg.solve(np.linalg.cholesky(self.floor).T, directions(len(self.P)).T)
        return np.asarray(sphere.T, dtype=np.float64)

    def _gain(self, s: Array) -> Array:
        """φ(v + s) − φ(v), s (…, nv, k)."""
        gains = [
            part.value(torch.from_numpy(self.v[i] + s[..., i, :])) - part.value(torch.tensor(self.v[i]))
            for i, part in enumerate(self.parts)
        ]
        return torch.stack(gains, dim=-2).numpy() if gains else s


def directions(n: int) -> Array:
    """Unit vectors (m, n) that stand for the sphere: equally spaced in the plane, drawn once and for all beyond it."""
    if n == 1:
        return np.array([[1.0], [-1.0]])
    if n == 2:
        angles = 2 * math.pi * np.arange(720) / 720
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    drawn = np.random.default_rng(0).standard_normal((4000, n))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
