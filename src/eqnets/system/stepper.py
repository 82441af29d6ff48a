"""One step at a time, for control loops: the object keeps the state, and a step allocates nothing but its answer."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.kernels import adjoint, native
from eqnets.system.kernels.equilibrium import tolerance
from eqnets.system.lfr import LFR
from eqnets.system.simulate import simulate


class Stepper:
    """Step an LFR through time: `y = stepper(u)` is the output at this sample, and moves the state to the next.

    The system is copied: later changes of the LFR's tensors do not reach it. There are no gradients. With the C kernel
    a step of 20 states and 40 neurons takes about two microseconds, and with a full D11 as long as its Newton steps;
    without it, it is `simulate` on one sample.

    Args:
        lfr: a discrete LFR, float32 or float64, on the CPU.
        x0: the initial state, (nx,); None is zero.

    Raises:
        InputError: a continuous LFR, another dtype or device, or a wrong x0.
    """

    def __init__(self, lfr: LFR, x0: np.ndarray | Tensor | None = None) -> None:
        if lfr.dt is None:
            raise InputError(
                "this LFR is in continuous time; discretise it first: eqnets.discretise(lfr, dt, 'midpoint')."
            )
        if lfr.device.type != "cpu" or lfr.dtype not in (torch.float32, torch.float64):
            raise InputError(
                f"a Stepper runs on the CPU in float32 or float64; got {lfr.dtype} on {lfr.device}. Use lfr.to('cpu')."
            )
        self.lfr = lfr.replace(**{name: block.detach().clone() for name, block in lfr.blocks().items()})
        self._x, self._u, self._y = (lfr.A.new_zeros(n) for n in (lfr.nx, lfr.nu, lfr.ny))
        self._numpy_x, self._numpy_u, self._numpy_y = self._x.numpy(), self._u.numpy(), self._y.numpy()
        fast = adjoint.choose(lfr.activation, lfr.dtype, lfr.device) == "c"
        buffers = self._x, self._u, self._y
        self._advance = native.Step(self.lfr, *buffers, tolerance(lfr.dtype)).step if fast else self._simulate
        self.reset(x0)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, also in another process, goes on from the same state by buffers of its own."""  # noqa: DOC201
        return Stepper, (self.lfr, self.state)

    def reset(self, x0: np.ndarray | Tensor | None = None) -> None:
        """Start again.

        Args:
            x0: the state to start from, (nx,); None is zero.

        Raises:
            InputError: x0 has another shape.
        """
        if x0 is None:
            self._x.zero_()
            return
        x0 = torch.as_tensor(x0)
        if x0.shape != self._x.shape:
            raise InputError(f"x0 must be (nx={self.lfr.nx},); got {tuple(x0.shape)}.")
        self._x.copy_(x0.detach())

    @property
    def state(self) -> np.ndarray:
        """A copy of the state x, (nx,): that of the next step."""
        return self._numpy_x.copy()

    @overload
    def __call__(self, u: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, u: Tensor) -> Tensor: ...
    def __call__(self, u: np.ndarray | Tensor) -> np.ndarray | Tensor:
        """Take one step.

        Args:
            u: the input at this sample, (nu,), an array or a tensor of any real dtype.

        Returns:
            y (ny,) in the system's dtype, an array for an array and a tensor for a tensor; it is the caller's to keep.

        Raises:
            InputError: u has another shape.
        """
        if getattr(u, "shape", None) != self._numpy_u.shape:
            got = tuple(u.shape) if hasattr(u, "shape") else type(u).__name__
            raise InputError(f"u must be an array or a tensor (nu={self.lfr.nu},); got {got}.")
        if isinstance(u, np.ndarray):
            self._numpy_u[:] = u
            self._step()
            return self._numpy_y.copy()
        self._u.copy_(u.detach())
        self._step()
        return self._y.clone()

    def _step(self) -> None:
        if not self._advance():
            self._simulate()

    def _simulate(self) -> bool:
        y, x = simulate(self.lfr, self._u[None, None], self._x[None])
        self._y.copy_(y[0, 0])
        self._x.copy_(x[0])
        return True
