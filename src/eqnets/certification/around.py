"""Claims about one named equilibrium, and the point itself: what circle and Lur'e–Postnikov criteria speak of.

Nothing here speaks of pairs of trajectories: multipliers that use a potential ∫φ or a sector prove that trajectories
go to one point under one constant input, and say nothing of the distance between two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from eqnets.certification.checked import number
from eqnets.certification.dissipation import Dissipative, Matrix
from eqnets.certification.enclosure import Array
from eqnets.certification.inequality import Rows
from eqnets.certification.sector import Sector, sector
from eqnets.errors import InputError, NotCertified, NotConverged
from eqnets.system.lfr import LFR

MULTIPLIERS = ("circle", "lure", "memory")


@dataclass(frozen=True)
class AbsoluteStability:
    """Every trajectory goes to one equilibrium exponentially, from every initial state, under one constant input.

    It holds for every φ in the sectors that the certificate names, of which the model's own is one. It speaks of one
    equilibrium, not of pairs of trajectories.

    Args:
        equilibrium: the state (nx,), or a guess that Newton's method improves; None: the origin.
        input: the constant input (nu,); None: zero.
        multiplier: "circle" (a quadratic storage), or "lure" (continuous time: Lur'e–Postnikov, with the integrals of
            the neurons, which proves no less), or "memory" (discrete time: the neurons' potentials at this step and at
            those that follow, as strong as a Zames–Falb multiplier of that length, of an odd one where the neurons are
            odd about the equilibrium; needs the slopes, and such a proof is not saved).
        memory: steps, for the multiplier "memory"; more prove more, and take longer.

    Raises:
        InputError: a number is not finite, there is no such multiplier, or memory is no number of its steps.
    """

    equilibrium: tuple[float, ...] | None = None
    input: tuple[float, ...] | None = None
    multiplier: str = "circle"
    memory: int = 1
    kind = "around"

    def __post_init__(self) -> None:
        _check(self)
        if type(self.memory) is not int or self.memory < 1 or (self.memory > 1 and self.multiplier != "memory"):
            raise InputError(
                f"memory is a number of steps ≥ 1 of multiplier='memory', got {self.memory!r} of {self.multiplier!r}."
            )


@dataclass(frozen=True)
class RegionOfAttraction:
    """Every trajectory that starts in a region stays there and goes to one equilibrium exponentially.

    The region is {V < 1, |v_i − v_i*| < bound_i}, V a quadratic form plus, for "lure", the integrals of the neurons.
    Its volume is made large; nothing is said about what starts outside.

    Args:
        equilibrium: the state (nx,), or a guess that Newton's method improves; None: the origin.
        input: the constant input (nu,); None: zero.
        bound: how far the argument of each neuron may go from its equilibrium: one number for all, or one a neuron
            (None: this one may go anywhere); None: searched.
        multiplier: "circle" (an ellipsoid), or "lure" (Lur'e–Postnikov, in continuous time).

    Raises:
        InputError: a number is not finite, a bound not positive, or there is no such multiplier.
    """

    equilibrium: tuple[float, ...] | None = None
    input: tuple[float, ...] | None = None
    bound: float | tuple[float | None, ...] | None = None
    multiplier: str = "lure"
    kind = "around"

    def __post_init__(self) -> None:
        _check(self)
        if self.multiplier == "memory":
            raise InputError("a region is proved by 'circle' or 'lure', not by 'memory'.")
        if self.bound is None:
            return
        given = self.bound if isinstance(self.bound, tuple | list) else (self.bound,)
        checked = tuple(None if entry is None else number("bound", entry) for entry in given)
        if not checked or any(entry is not None and entry <= 0 for entry in checked):
            raise InputError(f"a bound on a neuron's argument must be positive, got {self.bound}.")
        if all(entry is None for entry in checked):
            raise InputError("a region without any bound is the whole space; claim AbsoluteStability().")
        object.__setattr__(self, "bound", checked if isinstance(self.bound, tuple | list) else checked[0])

    def bounds(self, nv: int) -> tuple[float | None, ...] | None:
        """The bound of every neuron, or None where they are to be searched.

        Args:
            nv: number of neurons.

        Returns:
            One entry a neuron.

        Raises:
            InputError: the number of bounds does not fit.
        """
        if self.bound is None or not isinstance(self.bound, tuple):
            return None if self.bound is None else (self.bound,) * nv
        if len(self.bound) != nv:
            raise InputError(f"{len(self.bound)} bounds were given, but the model has {nv} neurons; give one each.")
        return self.bound


@dataclass(frozen=True)
class DissipativeAround:
    """Σ (ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu) ≥ −V(x₀), Δy = y − y*, Δu = u − u*, around one equilibrium (∫ in continuous time).

    V is a quadratic form of x − x*, so that the sum is not negative for every run that starts at x*. It speaks of one
    equilibrium, not of pairs of trajectories: that is `Dissipative`.

    Args:
        Q: (ny, ny), symmetric; rows of numbers, an array or a tensor.
        S: (nu, ny).
        R: (nu, nu), symmetric.
        equilibrium: the state (nx,), or a guess that Newton's method improves; None: the origin.
        input: the constant input (nu,); None: zero.

    Raises:
        InputError: a matrix holds something else than finite numbers, or Q or R is not symmetric.
    """  # noqa: DOC502

    Q: Matrix
    S: Matrix
    R: Matrix
    equilibrium: tuple[float, ...] | None = None
    input: tuple[float, ...] | None = None
    kind = "storage"

    def __post_init__(self) -> None:
        checked = self.supply
        for name in "QSR":
            object.__setattr__(self, name, getattr(checked, name))
        _check_point(self)

    @property
    def supply(self) -> Dissipative:
        """The same supply between pairs of trajectories."""
        return Dissipative(self.Q, self.S, self.R)


AroundOne = AbsoluteStability | RegionOfAttraction
AtPoint = AroundOne | DissipativeAround


@dataclass(frozen=True)
class Point:
    """An equilibrium: a state and a constant input, and what the neurons are fed there.

    Args:
        x: (nx,).
        u: (nu,).
        v: the exact C1 x + D12 u + bv, one fraction a neuron.
        tolerance: the arguments of the true equilibrium lie within v ± tolerance; 0: it is the origin, exactly.
    """

    x: tuple[float, ...]
    u: tuple[float, ...]
    v: tuple[Fraction, ...]
    tolerance: float

    def sectors(self, lfr: LFR, bounds: tuple[float | None, ...]) -> list[Sector]:
        """The sector of every neuron within its bound."""
        return [
            sector(part, v, self.tolerance, bound)
            for part, v, bound in zip(lfr.activation.each(lfr.nv), self.v, bounds, strict=True)
        ]


def find_point(claim: AtPoint, lfr: LFR) -> Point:
    """The equilibrium that a claim names, by Newton's method where it is not the origin.

    Args:
        claim: whose equilibrium and input are meant.
        lfr: the system, with D11 = 0: then what the neurons are fed is an affine function of the state.

    Returns:
        The point.

    Raises:
        InputError: the sizes do not fit.
        NotCertified: D11 is not zero.
        NotConverged: Newton's method finds no equilibrium near the guess.
    """  # noqa: DOC502
    rows = Rows.of(lfr)
    if bool(lfr.D11.any()):
        raise NotCertified(
            "not certified: with D11 ≠ 0 the arguments of the neurons are no affine function of the state, which "
            "claims around one equilibrium need here. Remedy: claim Contracting() or Lipschitz(gamma), which take "
            "every D11.",
            block="D11",
        )
    given = {"equilibrium": (claim.equilibrium, lfr.nx), "input": (claim.input, lfr.nu)}
    for name, (value, count) in given.items():
        if value is not None and len(value) != count:
            raise InputError(f"the {name} has {len(value)} numbers, but the model needs {count}.")
    x, u = (np.array(value or (0.0,) * count) for value, count in given.values())
    biases = [getattr(lfr, name).detach().double().numpy() for name in ("bx", "bv")]
    zero = torch.zeros(lfr.nv, dtype=torch.float64)
    exact = not any(array.any() for array in (x, u, *biases)) and not bool(lfr.activation(zero).any())
    if not exact:
        x = _newton(lfr, rows, x, u, biases[0], biases[1])
    seen = np.delete(rows.Lz, rows.parts()["w"], axis=1)  # [C1 D12]
    v = tuple(
        sum((Fraction(c) * Fraction(s) for c, s in zip(row, [*x.tolist(), *u.tolist()], strict=True)), Fraction(b))
        for row, b in zip(seen.tolist(), biases[1].tolist(), strict=True)
    )
    size = max((abs(float(entry)) for entry in v), default=0.0)
    return Point(tuple(x.tolist()), tuple(u.tolist()), v, 0.0 if exact else 1e-9 * (1 + size))


def _newton(lfr: LFR, rows: Rows, x: Array, u: Array, bx: Array, bv: Array) -> Array:
    """X with A x + B1 φ(C1 x + D12 u + bv) + B2 u + bx = x (or 0), far within the tolerance of a `Point`."""
    part, eye = rows.parts(), np.eye(lfr.nx) * (lfr.dt is not None)
    for _ in range(50):
        v = rows.Lz[:, part["x"]] @ x + rows.Lz[:, part["u"]] @ u + bv
        w, slope = (f(torch.from_numpy(v)).numpy() for f in (lfr.activation.value, lfr.activation.derivative))
        residual = (rows.Lx[:, part["x"]] - eye) @ x + rows.Lx[:, part["w"]] @ w + rows.Lx[:, part["u"]] @ u + bx
        jacobian = rows.Lx[:, part["x"]] - eye + (rows.Lx[:, part["w"]] * slope) @ rows.Lz[:, part["x"]]
        try:
            step = np.linalg.solve(jacobian, -residual)
        except np.linalg.LinAlgError:
            break
        x = x + step
        if np.abs(step).max(initial=0.0) <= 1e-12 * (1 + np.abs(x).max(initial=0.0)):
            return x
    raise NotConverged(
        "no equilibrium was found near the given state under this constant input; give the equilibrium, or an input "
        "that holds one."
    )


def _check(claim: AroundOne) -> None:
    if claim.multiplier not in MULTIPLIERS:
        raise InputError(f"there is no multiplier {claim.multiplier!r} here; choose one of {', '.join(MULTIPLIERS)}.")
    _check_point(claim)


def _check_point(claim: AtPoint) -> None:
    for name in ("equilibrium", "input"):
        value = getattr(claim, name)
        if value is not None:
            entries = value.tolist() if hasattr(value, "tolist") else value
            if not isinstance(entries, tuple | list):
                entries = (entries,)
            object.__setattr__(claim, name, tuple(number(f"{name}[{i}]", x) for i, x in enumerate(entries)))
