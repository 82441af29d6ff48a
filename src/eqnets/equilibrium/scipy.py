"""scipy's root finders as a black box: the one door through which they enter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from eqnets.equilibrium.maps import Map
from eqnets.equilibrium.solver import Point, Solver, check_number
from eqnets.errors import InputError

METHODS = (
    "hybr", "lm", "broyden1", "broyden2", "anderson", "linearmixing", "diagbroyden", "excitingmixing", "krylov",
    "df-sane",
)  # fmt: skip


@dataclass(frozen=True)
class ScipyRoot(Solver):
    """scipy.optimize.root on f(z) − z, one sample after the other (`"hybr"` is fsolve).

    What scipy says about convergence is not believed: the residual of its answer is. Without in_dims each of its
    evaluations costs one of the whole batch.

    Args:
        method: a method of scipy.optimize.root.
        tol: passed to it; None: 10 eps of the dtype.

    Raises:
        InputError: an unknown method, or a tol out of range.
    """  # noqa: DOC502

    method: str = "hybr"
    tol: float | None = None

    one_shot: ClassVar[bool] = True
    unrollable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"ScipyRoot has no method {self.method!r}; choose one of {', '.join(METHODS)}.")
        if self.tol is not None:
            check_number(self, "tol", 0.0, 1.0, open_low=True)

    def start(self, map: Map, point: Point) -> dict[str, Any]:
        """Nobody has been evaluated by scipy yet.

        Args:
            map: not used.
            point: the start, evaluated.

        Returns:
            `evaluations` (batch,), which the loop adds to the steps.
        """
        del map
        return {"evaluations": np.zeros(len(point.z), dtype=np.int64)}

    def step(self, map: Map, point: Point, state: dict[str, Any]) -> Tensor:
        """The answers of scipy for all samples that have not converged.

        Args:
            map: z ↦ f(z).
            point: the start, evaluated.
            state: counts the evaluations.

        Returns:
            (batch, n).
        """
        from scipy.optimize import root

        z = point.z.clone()
        tol = 10 * torch.finfo(z.dtype).eps if self.tol is None else self.tol
        for i in np.flatnonzero(point.residual >= 1).tolist():
            residual = _residual_of(map, point.z, i)
            with np.errstate(all="ignore"):
                found = root(residual, point.z[i].double().cpu().numpy(), method=self.method, tol=tol)
            z[i] = torch.as_tensor(found.x, dtype=z.dtype, device=z.device)
            state["evaluations"][i] += int(found.nfev)
        return z


def _residual_of(map: Map, z: Tensor, i: int) -> Any:
    """f(z) − z of one sample, on float64 arrays."""
    alone = map.can_take or len(z) == 1
    one = map if len(z) == 1 else map.take(torch.tensor([i], device=z.device)) if map.can_take else map

    def residual(x: np.ndarray) -> np.ndarray:
        row = torch.as_tensor(x, dtype=z.dtype, device=z.device)
        if alone:
            out = one(row[None])[0]
        else:
            whole = z.clone()
            whole[i] = row
            out = one(whole)[i]
        return out.double().cpu().numpy() - x

    return residual
