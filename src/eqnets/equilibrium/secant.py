"""What Anderson and Broyden share: a fixed-size memory of differences, and a safeguard, both per sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eqnets.equilibrium import native
from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point, Solver, check_count, check_number

BOUND = 1e30  # of a safeguard that is infinite, so that a quotient is a number
NAIVE = 400  # below so many products per sample, bmm on a CPU is a plain loop, three times slower than sums


class Memory(NamedTuple):
    """The rows in use.

    Args:
        left: (batch, used, n), differences of z or of r = f(z) − z.
        right: (batch, used, n), the same differences of f(z).
        small: (batch, used, used), the products that the subclass keeps.
        slot: which row is the newest.
        r: (batch, n), of the good iterate before the last one.
    """

    left: Tensor
    right: Tensor
    small: Tensor
    slot: int
    r: Tensor


@dataclass(frozen=True)
class Secant(Solver):
    """z⁺ = f(z) − γ ΔF with the last `memory` differences ΔF of f(z); a subclass says which γ.

    A step whose residual exceeds `safeguard` times the last one, or that is not finite, is taken back: that sample
    continues with f of its last good iterate and an empty memory. So a contraction converges whatever γ was. The memory
    is 2·memory·batch·n numbers, however many steps are made, and an operation touches the rows in use alone. An emptied
    row is zero, with a diagonal in the small product that is not: it decides nothing.

    Args:
        memory: how many differences are kept.
        safeguard: the growth of the residual that is still accepted.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    memory: int = 5
    safeguard: float = 2.0

    left_name: ClassVar[str] = "r"  # what the left differences are taken of: a field of Point

    def __post_init__(self) -> None:
        check_count(self, "memory", 1, 100)
        check_number(self, "safeguard", 1.0, float("inf"))

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """An empty memory: what has not been written is not read.

        Args:
            map: not used.
            point: the start, evaluated.

        Returns:
            `left`, `right` (batch, memory, n), their `small` product (batch, memory, memory), the last good point, and
            who just stepped back.
        """
        del map
        batch, n = point.fz.shape
        return {
            "left": point.fz.new_empty(batch, self.memory, n), "right": point.fz.new_empty(batch, self.memory, n),
            "small": point.fz.new_empty(batch, self.memory, self.memory),
            "last": None, "back": None, "count": 0,
        }  # fmt: skip

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The next iterate.

        Args:
            map: not used.
            point: the last iterate, evaluated.
            state: the memory.

        Returns:
            (batch, n).
        """
        del map
        back = None
        last = state["last"]
        if last is None:
            z = point.fz
        else:
            back = ~(point.residual / min(self.safeguard, BOUND) <= last.residual)
            if state["back"] is not None:
                back &= ~state["back"]
            if not np.count_nonzero(back):
                back = None
            else:
                self.forget(back, state)
                pairs = ((last.z, point.z), (last.fz, point.fz), (last.residual, point.residual))
                point = Point(*(_where(back, old, new) for old, new in pairs), steps=point.steps)
            state["slot"], state["count"] = state["count"] % self.memory, state["count"] + 1
            z = self._mixed(point, state)
            z = z if back is None else _where(back, point.fz, z)
        state.update(last=point, back=back)
        return z

    def forget(self, which: np.ndarray, state: dict[str, Any]) -> None:
        """Empty the memory of some samples.

        Args:
            which: (batch,), bool.
            state: the memory.
        """
        gone = mask(which, state["left"])[:, None, None]
        state["left"], state["right"] = state["left"].masked_fill(gone, 0.0), state["right"].masked_fill(gone, 0.0)
        eye = torch.eye(self.memory, dtype=state["small"].dtype, device=gone.device)
        state["small"] = torch.where(gone, eye, state["small"])

    def _remember(self, point: Point, state: dict[str, Any]) -> Memory:
        """Write the newest differences over the oldest ones."""
        slot, last = state["slot"], state["last"]
        pairs = (("left", getattr(point, self.left_name), getattr(last, self.left_name)), ("right", point.fz, last.fz))
        if torch.is_grad_enabled():  # unrolled: what the graph has saved must not change
            state.update({name: state[name].clone() for name in ("left", "right", "small")})
            for name, new, old in pairs:
                state[name][:, slot] = new - old
        else:
            for name, new, old in pairs:
                torch.sub(new, old, out=state[name][:, slot])
        left, right, small, used = state["left"], state["right"], state["small"], state["count"]
        if used < self.memory:
            left, right, small = left[:, :used], right[:, :used], small[:, :used, :used]
        return Memory(left, right, small, slot, last.r)

    def _mixed(self, point: Point, state: dict[str, Any]) -> Tensor:
        """The accelerated iterate with the newest differences: in C where both points can be."""
        last = state["last"]
        if point.steps is None or last.steps is None:
            return self.mix(point, self._remember(point, state))
        used, read = min(state["count"], self.memory), (point.z, point.fz, last.z, last.fz)
        written = (state["left"], state["right"], state["small"])
        return native.mix(point.steps, *self.in_c(point.z.dtype), used, state["slot"], read, written)

    def in_c(self, dtype: torch.dtype) -> tuple[bool, float, float]:
        """What the C step has to know, see `native.mix`.

        Args:
            dtype: of the state.

        Returns:
            Whether it is Broyden's method, the ridge, the damping.

        Raises:
            NotImplementedError: a subclass forgot it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define in_c.")

    def mix(self, point: Point, memory: Memory) -> Tensor:
        """The accelerated iterate.

        Args:
            point: the last good iterate.
            memory: with the newest differences; the newest row and column of `small` are to be written here.

        Returns:
            (batch, n).

        Raises:
            NotImplementedError: a subclass forgot it.
        """
        raise NotImplementedError(f"{type(self).__name__} must define mix.")


def _where(which: np.ndarray, yes: Any, no: Any) -> Any:
    return torch.where(mask(which, yes)[:, None], yes, no) if isinstance(yes, Tensor) else np.where(which, yes, no)


def mask(which: np.ndarray, like: Tensor) -> Tensor:
    """A mask on the device of the state.

    Args:
        which: (batch,), bool.
        like: the state.

    Returns:
        (batch,), bool.
    """
    return torch.from_numpy(which).to(like.device)


def dots(rows: Tensor, vector: Tensor) -> Tensor:
    """The inner products of every row with a vector.

    Args:
        rows: (batch, memory, n).
        vector: (batch, n).

    Returns:
        (batch, memory).
    """
    if rows.shape[1] * rows.shape[2] < NAIVE:
        return torch.linalg.vecdot(rows, vector[:, None])
    return torch.bmm(vector[:, None], rows.mT)[:, 0]  # ten times faster on CPU than rows @ vector[:, :, None]


def combine(start: Tensor, weights: Tensor, rows: Tensor) -> Tensor:
    """The sum start − Σ weights·rows.

    Args:
        start: (batch, n).
        weights: (batch, memory).
        rows: (batch, memory, n).

    Returns:
        (batch, n).
    """
    if rows.shape[1] * rows.shape[2] < NAIVE:
        return start - (rows * weights[:, :, None]).sum(1)
    return torch.baddbmm(start[:, None], weights[:, None], rows, alpha=-1)[:, 0]


def write(small: Tensor, slot: int, row: Tensor, column: Tensor) -> None:
    """Write the products of the newest differences, which are zero for a sample that has just stepped back.

    Args:
        small: (batch, used, used), written to.
        slot: where the newest ones stand.
        row: (batch, used).
        column: (batch, used); it has the diagonal.
    """
    small.select(1, slot).copy_(row)
    small.select(2, slot).copy_(column)
    small.select(1, slot).select(1, slot).add_(torch.finfo(small.dtype).tiny)  # then 0·γ = 0 has a solution, γ = 0


def solved(gamma: Tensor, info: Tensor) -> Tensor:
    """The weights that a factorisation gave, or zero for a sample where it failed or they are not finite.

    Args:
        gamma: (batch, used).
        info: (batch,), of LAPACK: zero is success.

    Returns:
        (batch, used).
    """
    return torch.where((gamma.sum(1) * 0 == info)[:, None], gamma, 0.0)  # 0·finite is 0, and all else is NaN
