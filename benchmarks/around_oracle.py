"""An oracle for claims around one equilibrium: certificates to be changed, and which changed ones are still true.

Two judges, which share nothing with prover and checker. `is_proved` re-proves: matrices in rational numbers (LDLᵀ),
sectors by cutting an interval, with a Lipschitz constant, integrals from closed forms to fifty digits.
`counterexample` tries to refute the sentence itself: it finds the equilibrium, draws states of the region, and looks
whether V falls there.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import torch
from certificate_mutations import Case, case, exact_array, is_definite, symmetric_of
from numpy.typing import NDArray

import eqnets as eq
from eqnets.system.nonlinearity import get
from eqnets_verify import Block
from eqnets_verify.check import LEMMAS

F64 = torch.float64
_OUTPUT = ("C2", "D21", "D22")
_HALF = np.polynomial.legendre.leggauss(40)


def cases_around() -> list[Case]:
    """One small certificate of every kind: circle, Lur'e–Postnikov, regions, all states, shifted points, both times."""
    hanging = eq.plants.Pendulum(1, 1, 1.0, 0.5, upright=False)
    saturated = eq.LFR(
        A=[[0.0, 1.0], [1.0, -0.2]], B1=[[0.0, 0.0], [-1.0, -0.6]], B2=[[0.0], [1.0]],
        C1=[[1.0, 0.0], [2.0 / 0.6, 1.0 / 0.6]], D22=[[0.0]], C2=[[1.0, 0.0]],
        activation=["sine_defect", "hardtanh"], dt=None, u_units=["N m"], y_names=["angle"],
    )  # fmt: skip
    shifted = {"equilibrium": (0.4, 0.0), "input": (float(np.sin(0.5)),)}
    found = [
        case(eq.RegionOfAttraction(bound=3.1), hanging.lfr(), None),
        case(eq.RegionOfAttraction(bound=2.4, multiplier="circle"), hanging.lfr(), None),
        case(eq.RegionOfAttraction(**shifted, bound=1.9), hanging.lfr(), None),
        case(eq.RegionOfAttraction(bound=(1.0, 1.6), multiplier="circle"), saturated, None),
        case(eq.RegionOfAttraction(bound=2.0), hanging.lfr(0.05, "euler"), None),
    ]
    for dt in (None, 0.05):  # around the hanging position with a weak spring, where no gain holds between all pairs
        spring = eq.plants.Pendulum(1, 1, 1.0, 1.0, upright=False, kp=0.6).lfr(*(() if dt is None else (dt, "euler")))
        found.append(case(eq.DissipativeAround([[-1.0]], [[0.0]], [[36.0]]), spring, None))
    for dt, activation, multiplier in (
        (0.1, "relu,leaky_relu(0.25),tanh", "circle"), (None, "tanh,sigmoid,gelu", "lure"),
        (None, "leaky_relu(0.25),sine_defect,hardtanh", "circle"), (1.0, "softplus,identity,silu", "circle"),
    ):  # fmt: skip
        g = torch.Generator().manual_seed(1)
        blocks = {
            k: 0.25 * torch.randn(s, generator=g, dtype=F64)
            for k, s in {"A": (2, 2), "B1": (2, 3), "C1": (3, 2), "B2": (2, 1), "D12": (3, 1)}.items()
        }
        blocks["A"] = blocks["A"] - torch.eye(2, dtype=F64) if dt is None else blocks["A"]
        lfr = eq.LFR(**blocks, C2=[[1.0, 0.0]], D22=[[0.5]], activation=activation, dt=dt, y_units=["m"])
        found += [
            case(eq.DissipativeAround([[-1.0]], [[0.1]], [[25.0]], input=at), lfr, None) for at in ((0.0,), (0.7,))
        ]
        found += [
            case(eq.AbsoluteStability(multiplier=multiplier), lfr, None),
            case(eq.AbsoluteStability(input=(0.7,), multiplier=multiplier), lfr, None),
        ]
    return found


def is_true_around(document: dict[str, Any], blocks: dict[str, Block]) -> bool:
    """Whether a claim is proved, and no state speaks against its sentence."""
    return is_proved(document, blocks) and not counterexample(document, blocks, seed=0)


def is_proved(document: dict[str, Any], blocks: dict[str, Block]) -> bool:
    """Whether the claim of a certificate holds, re-proved from its numbers."""
    c, dt = document["claim"], document["dt"]
    b = {name: exact_array(block.values).reshape(block.shape) for name, block in blocks.items()}
    nx, nv = len(b["A"]), len(b["D11"])
    names = document["activation"].split(",") if "," in document["activation"] else [document["activation"]] * nv
    lam, low, high, eta = (exact_array(x) for x in (document["Lambda"], c["low"], c["high"], c["eta"]))
    supplied = c["kind"] == "storage"
    fits = not (supplied and (any(c["eta"]) or any(c["bound"])))
    fits = (
        fits and not np.any(b["D11"]) and all(x > 0 for x in lam) and document["rate"] is None and c["tolerance"] >= 0
    )
    if not fits or (dt is not None and (not dt > 0 or any(eta))):
        return False
    off = Fraction(c["tolerance"])
    v = b["C1"] @ exact_array(c["equilibrium"]) + b["D12"] @ exact_array(c["input"]) + b["bv"]
    P, C = symmetric_of(document["P"]), b["C1"]
    least, edges = [], []
    for i, name in enumerate(names):
        z = c["bound"][i]
        if not _in_sector(name, v[i], off, z, low[i], high[i]):
            return False
        least.append(min(eta[i] * low[i], eta[i] * high[i]))
        edges.append(
            None if z is None else (1 - 2 * _least_integral(name, v[i], off, Fraction(z), eta[i])) / Fraction(z) ** 2
        )
    floor = P + sum((m * np.multiply.outer(r, r) for m, r in zip(least, C, strict=True)), start=0 * P)
    levels = [floor] + [
        floor - (m + t) * np.multiply.outer(r, r) for m, t, r in zip(least, edges, C, strict=True) if t is not None
    ]
    # V' or V⁺ − V, as a quadratic form of (ξ, w, u), minus what the sectors are worth and what is supplied
    nu = blocks["B2"].shape[1]
    n = nx + nv + nu
    M, one = exact_array([0.0] * n * n).reshape(n, n), exact_array(np.eye(n).ravel().tolist()).reshape(n, n)
    x, w, u = one[:nx], one[nx : nx + nv], one[nx + nv :]
    after, seen, y = (np.hstack([b[k] for k in row]) for row in (("A", "B1", "B2"), ("C1", "D11", "D12"), _OUTPUT))
    if dt is None:
        rows = 2 * (x.T @ P @ after) + 2 * (w.T @ (eta[:, None] * (C @ after)))
        change = (rows + rows.T) / 2
    else:
        change = after.T @ P @ after - x.T @ P @ x
    for i in range(nv):
        p, r = w[i] - low[i] * seen[i], w[i] - high[i] * seen[i]
        M = M + lam[i] * (np.multiply.outer(p, r) + np.multiply.outer(r, p))
    M = M - change
    if supplied:
        Q, S, R = (np.array([exact_array(row) for row in c[name]]) for name in "QSR")
        cross = u.T @ S @ y
        M = M + (y.T @ (Q + Q.T) @ y + u.T @ (R + R.T) @ u) / 2 + cross + cross.T
    else:
        M = M[: nx + nv, : nx + nv]
    return all(map(is_definite, [M, *levels]))


def _in_sector(name: str, v: Fraction, off: Fraction, z: float | None, low: Fraction, high: Fraction) -> bool:
    """Whether low ≤ (φ(v + s) − φ(v))/s ≤ high for all 0 < |s| ≤ z (z None: all s), wherever v is within ±off."""
    alpha, beta = (Fraction(0.25), Fraction(1)) if name.startswith("leaky") else map(Fraction, LEMMAS[name])
    if low <= alpha and high >= beta:
        return True
    if name == "hardtanh" and z is not None and high >= 1 and abs(v) + off <= 1:
        # the quotient is the share of [v, v + s] on which φ' = 1: least for the longest way out of the nearer end
        return low <= min(Fraction(1), (1 - abs(v) - off) / Fraction(z))
    if name != "sine_defect":
        return False
    if z is None:  # 1 − sin s/s ≤ 1.1 beyond |s| = 10
        return v == off == 0 and low <= 0 and high >= 1.1 and _between(0.0, 0.0, 10.0, -1.0, float(high))
    return _between(float(v), float(off), float(z), float(low) if low > 0 else -1.0, float(high) if high < 2 else 3.0)


def _between(v: float, off: float, z: float, low: float, high: float) -> bool:
    """Low ≤ q ≤ high for q(s) = 1 − (sin(v + s) − sin v)/s, |s| ≤ z; |∂q/∂s| ≤ 1/2, |∂q/∂v| ≤ 1."""
    middle, half, spare = np.linspace(-z, z, 65)[1::2], z / 64, off + 1e-14
    while len(middle):
        q = 1 - np.cos(v + middle / 2) * np.sinc(middle / (2 * np.pi))
        if (q > high + 1e-14).any() or (q < low - 1e-14).any() or half < 1e-13 * z:
            return False
        open_ = (q + half / 2 + spare > high) | (q - half / 2 - spare < low)
        half, middle = half / 2, middle[open_]
        if len(middle) > 200_000:
            return False
        middle = np.concatenate([middle - half, middle + half])
    return True


def _least_integral(name: str, v: Fraction, off: Fraction, z: Fraction, eta: Fraction) -> Fraction:
    """A lower bound of η ∫₀ˢ (φ(v + σ) − φ(v)) dσ over s = ±z and v ± off."""
    alpha, beta = (Fraction(0.25), Fraction(1)) if name.startswith("leaky") else map(Fraction, LEMMAS[name])
    if name == "hardtanh" and abs(v) + off <= 1:
        alpha = min(Fraction(1), (1 - abs(v) - off) / z)
    bounds = [eta * alpha * z * z / 2, eta * beta * z * z / 2]
    if name == "sine_defect":
        with mpmath.workdps(50):
            at, ends = mpmath.mpf(v.numerator) / v.denominator, []
            for s in (mpmath.mpf(z.numerator) / z.denominator * sign for sign in (1, -1)):
                ends.append(s * s / 2 + mpmath.cos(at + s) - mpmath.cos(at) + s * mpmath.sin(at))
            spare = off * z * z / 2 + Fraction(1, 10**30)  # |φ''| ≤ 1
            sharp = [eta * (Fraction(mpmath.nstr(end, 45)) + sign * spare) for end in ends for sign in (1, -1)]
        return max(min(bounds), min(sharp))
    return min(bounds)


def counterexample(document: dict[str, Any], blocks: dict[str, Block], seed: int, draws: int = 200) -> bool:
    """Whether some state of the region is seen from which V does not fall: then the sentence is false."""
    c, dt, rng = document["claim"], document["dt"], np.random.default_rng(seed)
    b = {name: np.array(block.values, dtype=np.float64).reshape(block.shape) for name, block in blocks.items()}
    nv = len(b["D11"])
    names = document["activation"].split(",") if "," in document["activation"] else [document["activation"]] * nv
    parts = [get(name.strip()) for name in names]

    def phi(v: NDArray[Any]) -> NDArray[Any]:
        columns = [part.value(torch.from_numpy(v[..., i].copy())).numpy() for i, part in enumerate(parts)]
        return np.stack(columns, axis=-1)

    def flow(x: NDArray[Any]) -> NDArray[Any]:
        return x @ b["A"].T + phi(x @ b["C1"].T + fed) @ b["B1"].T + b["B2"] @ c["input"] + b["bx"]

    fed = b["D12"] @ c["input"] + b["bv"]
    star = _equilibrium(flow, np.array(c["equilibrium"], dtype=np.float64), dt)
    if star is None or (np.abs(b["C1"] @ (star - c["equilibrium"])) > c["tolerance"]).any():
        return False  # the premise does not hold
    P, C, eta = (np.array(x, dtype=np.float64) for x in (symmetric_of(document["P"]), b["C1"], c["eta"]))
    z = np.array([np.inf if bound is None else bound for bound in c["bound"]])
    if c["kind"] == "storage":
        return _oversupplied(c, dt, b, phi, star, P, rng)
    nodes, weights = (_HALF[0] + 1) / 2, _HALF[1] / 2
    at = C @ star + fed

    def storage(s: NDArray[Any]) -> NDArray[Any]:
        way = s @ C.T
        inner = phi(at + way[:, None, :] * nodes[:, None]) - phi(at)
        return np.einsum("mi,ij,mj->m", s, P, s) + 2 * (way * np.einsum("mki,k->mi", inner, weights)) @ eta

    s = rng.standard_normal((draws, len(star)))
    local = np.isfinite(z).any()
    if local:
        reach = np.minimum((z / np.maximum(np.abs(s @ C.T), 1e-300)).min(axis=1), 1e3)
        s = s * (reach * rng.uniform(0.02, 0.999, draws))[:, None]
        s = s[storage(s) < 0.99]
    else:
        s = s * 10.0 ** rng.uniform(-2, 2, draws)[:, None]
    if not len(s):
        return False
    f, size = flow(star + s), np.abs(P).max() * (s**2).sum(axis=1) + 1e-300
    if dt is not None:
        after = f - star
        change = np.einsum("mi,ij,mj->m", after, P, after) - np.einsum("mi,ij,mj->m", s, P, s)
        left = local and (np.abs(after @ C.T) > z * (1 + 1e-9)).any()
    else:
        w = phi(at + s @ C.T) - phi(at)
        change = 2 * np.einsum("mi,ij,mj->m", s, P, f) + 2 * ((f @ C.T) * w) @ eta
        left = False
    return bool(left or (change > 1e-7 * size).any())


def _oversupplied(c: dict, dt: float | None, b: dict, phi: Any, star: NDArray, P: NDArray, rng: Any) -> bool:
    """Whether a run from a drawn state, under drawn inputs, gives more than was supplied to it and stored at first."""
    Q, S, R = (np.array(c[name], dtype=np.float64) for name in "QSR")
    step = 0.05 / (1 + np.abs(b["A"]).max())

    def rates(x: NDArray, u: NDArray) -> tuple[NDArray, NDArray]:
        w = phi(x @ b["C1"].T + u @ b["D12"].T + b["bv"])
        y = x @ b["C2"].T + w @ b["D21"].T + u @ b["D22"].T + b["by"]
        return x @ b["A"].T + w @ b["B1"].T + u @ b["B2"].T + b["bx"], y

    held = np.array([c["input"]], dtype=np.float64)
    rest = rates(star[None], held)[1]
    x = star + rng.standard_normal((60, len(star))) * 10.0 ** rng.uniform(-2, 1, (60, 1)) * rng.integers(0, 2, (60, 1))
    stored, total = np.einsum("mi,ij,mj->m", x - star, P, x - star), np.zeros(60)
    size = 1e-9 + stored
    drift, period = rng.standard_normal((60, held.shape[1])), rng.uniform(2, 200, (60, 1))
    scale = 10.0 ** rng.uniform(-2, 1, (60, 1))
    for t in range(120):
        u = held + scale * drift * np.cos(2 * np.pi * t / period)
        f, y = rates(x, u)
        if dt is None:
            k2 = rates(x + step / 2 * f, u)[0]
            k3 = rates(x + step / 2 * k2, u)[0]
            middle, x = x + step / 2 * k2, x + step / 6 * (f + 2 * k2 + 2 * k3 + rates(x + step * k3, u)[0])
            ends = [(y, 1 / 6), (rates(middle, u)[1], 4 / 6), (rates(x, u)[1], 1 / 6)]
        else:
            x, ends = f, [(y, 1.0)]
        for at, share in ends:
            dy, du = at - rest, u - held
            part = np.einsum("mi,ij,mj->m", dy, Q, dy) + 2 * np.einsum("mi,ij,mj->m", du, S, dy)
            part = (part + np.einsum("mi,ij,mj->m", du, R, du)) * share * (step if dt is None else 1.0)
            total, size = total + part, size + np.abs(part)
        if (total < -stored - 1e-4 * size).any():
            return True
    return False


def _equilibrium(flow: Any, x: NDArray[Any], dt: float | None) -> NDArray[Any] | None:
    def residual(x: NDArray[Any]) -> NDArray[Any]:
        return flow(x) - (x if dt is not None else 0.0)

    for _ in range(40):
        r = residual(x)
        if np.abs(r).max() <= 1e-13 * (1 + np.abs(x).max()):
            return x
        J = np.stack([(residual(x + h) - residual(x - h)) / 2e-6 for h in 1e-6 * np.eye(len(x))], axis=1)
        try:
            x = x - np.linalg.solve(J, r)
        except np.linalg.LinAlgError:
            return None
    return None
