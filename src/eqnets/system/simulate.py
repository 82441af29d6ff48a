"""Roll an LFR out in time, with gradients; and linearise it at an operating point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system import chunked
from eqnets.system.kernels import adjoint, derivatives, equilibrium, op, reference
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.witness import Witness

METHODS = ("auto", "fused", "torch", "reference", "chunked")


@dataclass(frozen=True)
class SimulationInfo:
    """What a simulation did.

    Args:
        method: the way it was computed: `"fused"`, `"torch"`, `"reference"` or `"chunked"`.
        kernel: the code that ran: `"c"`, `"numba"`, `"torch"` or `"reference"`; with `"c"` and a full D11, the torch
            loops take over where Newton's method does not find an equilibrium.
        status: `"explicit"` (w follows by substitution, no tolerance) or `"solved"` (an equilibrium per step).
        steps: the most sweeps or Newton steps at any time step; None where the kernel does not count them.
        residual: (batch,) the largest |w − φ(v)| over time; None where nothing was solved for.
        bound: (batch,) what chunks change at most, a proved bound on ‖y_t − y_t of the sequential rollout‖ at every t
            (rounding aside); None where nothing was approximated.
    """

    method: str
    kernel: str
    status: str
    steps: int | None
    residual: Tensor | None
    bound: Tensor | None = None


@overload
def simulate(
    lfr: LFR, u: Tensor, x0: Tensor | None = None, method: str = "auto", witness: Witness | None = None,
    atol: float = 1e-6, *, return_info: Literal[False] = False,
) -> tuple[Tensor, Tensor]: ...  # fmt: skip
@overload
def simulate(
    lfr: LFR, u: Tensor, x0: Tensor | None = None, method: str = "auto", witness: Witness | None = None,
    atol: float = 1e-6, *, return_info: Literal[True],
) -> tuple[Tensor, Tensor, SimulationInfo]: ...  # fmt: skip
def simulate(
    lfr: LFR, u: Tensor, x0: Tensor | None = None, method: str = "auto", witness: Witness | None = None,
    atol: float = 1e-6, *, return_info: bool = False,
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, SimulationInfo]:  # fmt: skip
    """Simulate x⁺ = A x + B1 w + B2 u + bx, w = φ(C1 x + D11 w + D12 u + bv), y = C2 x + D21 w + D22 u + by.

    y_t is computed from x_t, and x_last is the state after the last sample, so that a record can be continued.
    Derivatives with respect to every block, u and x0 are exact to every order (with a full D11 to the third), in
    reverse and forward mode and under every transform of torch.func. That an acyclic D11 is zero on and above its
    diagonal is structure: no gradient leads out of it (start a D11 that is to become full from a full one).

    Args:
        lfr: a discrete LFR, in the dtype and on the device of u.
        u: the input, (batch, time, nu).
        x0: the initial state, (batch, nx) or (nx,) for all; None is zero.
        method: `"auto"` (the fastest kernel that can run), `"fused"` (compiled loops: C where a compiler is found, else
            numba, the extra `fast`, which needs an acyclic D11), `"torch"` (the same adjoint in torch operations),
            `"reference"` (plain autograd), or `"chunked"`, which rolls long records out in parallel within a proved
            error: see `eqnets.system.chunked`.
        witness: the P and Λ of the model, for `"chunked"` alone.
        atol: for `"chunked"` the bound to keep; else the residual to which a full D11 is solved, relative to
            1 + max |w|, tightened to 1e-12 in float64. A strictly lower triangular D11 is exact and has no tolerance.
        return_info: also return a `SimulationInfo`.

    Returns:
        y (batch, time, ny), x_last (batch, nx), and the info if asked for.

    Raises:
        InputError: a wrong shape or dtype, a continuous LFR, an unknown method.
        NotConverged: an equilibrium was not found to `atol`.
    """  # noqa: DOC502, E501
    x = _check(lfr, u, x0, method, atol)
    if torch.is_autocast_enabled(u.device.type):  # every kernel computes in the dtype it is given
        with torch.autocast(u.device.type, enabled=False):
            return simulate(lfr, u, x0, method, witness, atol, return_info=return_info)  # type: ignore[call-overload]
    tolerance = equilibrium.tolerance(u.dtype, atol)
    if method == "chunked":
        return _chunked(lfr, u, x, witness, atol, return_info)
    if method == "reference":
        acyclic = lfr.is_acyclic
        y, x_last = reference.rollout(lfr, u, x, acyclic, tolerance)
        info = SimulationInfo("reference", "reference", "explicit" if acyclic else "solved", None, None)
        return (y, x_last, info) if return_info else (y, x_last)
    compiling = torch.compiler.is_compiling()  # then values are looked at inside of the operator only
    if method == "torch":
        kernel = "torch"
    else:
        kernel = "auto" if compiling else adjoint.choose(lfr.activation, u.dtype, u.device)
    if method == "fused" and not compiling and adjoint.fitting(kernel, lfr.is_acyclic) == "torch":
        raise InputError(
            "the fused kernel needs a C compiler (for a strictly lower triangular D11 the extra `fast` will do: pip "
            "install 'eqnets[fast]'; see: eqnets doctor), known activations and a CPU; method='auto' takes it where it "
            "can."
        )
    settings = adjoint.Settings(lfr.activation, lfr.dt, tolerance, adjoint.memory(lfr, u, x, kernel), kernel)
    run = op.rollout if compiling else derivatives.rollout
    y, x_last, _, residual, steps = run(lfr, u, x, settings)
    if not return_info:
        return y, x_last
    solved = not lfr.is_acyclic
    kernel = adjoint.fitting(kernel, not solved)
    return y, x_last, SimulationInfo(
        method="torch" if kernel == "torch" else "fused",
        kernel=kernel,
        status="solved" if solved else "explicit",
        steps=int(steps) if solved or kernel == "torch" else None,
        residual=residual if solved else None,
    )  # fmt: skip


def _chunked(
    lfr: LFR, u: Tensor, x: Tensor, witness: Witness | None, atol: float, return_info: bool
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, SimulationInfo]:  # fmt: skip
    def run(u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return simulate(lfr, u, x)

    y, x_last, bound = chunked.rollout(run, lfr, u, x, witness, atol)
    if not return_info:
        return y, x_last
    acyclic = lfr.is_acyclic
    kernel = adjoint.fitting(adjoint.choose(lfr.activation, u.dtype, u.device), acyclic)
    return y, x_last, SimulationInfo("chunked", kernel, "explicit" if acyclic else "solved", None, None, bound)


def _check(lfr: LFR, u: Tensor, x0: Tensor | None, method: str, atol: float) -> Tensor:
    if not isinstance(lfr, LFR):
        raise InputError(f"simulate takes an LFR, such as model.explicit() or lti.to_lfr(); got {type(lfr).__name__}.")
    if not isinstance(atol, (int, float)) or not 0 < atol < math.inf:
        raise InputError(f"atol must be a positive number; got {atol!r}.")
    if method not in METHODS:
        raise InputError(f"there is no method '{method}' for simulate; choose one of {', '.join(METHODS)}.")
    if lfr.dt is None:
        raise InputError("this LFR is in continuous time; discretise it first: eqnets.discretise(lfr, dt, 'midpoint').")
    if not isinstance(u, Tensor) or u.ndim != 3 or u.shape[2] != lfr.nu:
        got = tuple(u.shape) if isinstance(u, Tensor) else type(u).__name__
        raise InputError(f"u must be a tensor (batch, time, nu={lfr.nu}); got {got}. For one record use u[None].")
    if u.dtype != lfr.dtype or u.device != lfr.device:
        raise InputError(
            f"u is {u.dtype} on {u.device}, but the LFR is {lfr.dtype} on {lfr.device}; convert one, for example "
            "lfr.to(u)."
        )
    if u.dtype not in (torch.float32, torch.float64):
        raise InputError(f"a rollout computes in float32 or float64; got {u.dtype}. Use u.float() and lfr.to(u).")
    return initial_state(x0, u, lfr.nx)


def initial_state(x0: Tensor | None, u: Tensor, nx: int) -> Tensor:
    """Where a rollout starts, checked.

    Args:
        x0: (batch, nx), (nx,) for all, or None for zero.
        u: the input, (batch, time, nu).
        nx: the number of states.

    Returns:
        (batch, nx).

    Raises:
        InputError: another type, shape or dtype.
    """
    if x0 is None:
        return u.new_zeros(u.shape[0], nx)
    x = x0.expand(u.shape[0], nx) if isinstance(x0, Tensor) and x0.shape == (nx,) else x0
    if not isinstance(x, Tensor) or x.shape != (u.shape[0], nx) or x.dtype != u.dtype:
        got = f"{tuple(x0.shape)} in {x0.dtype}" if isinstance(x0, Tensor) else type(x0).__name__
        raise InputError(f"x0 must be a tensor (batch={u.shape[0]}, nx={nx}) or ({nx},) in {u.dtype}; got {got}.")
    return x


def linearise(lfr: LFR, x: Tensor | None = None, u: Tensor | None = None) -> LTI:
    """The linear system of small deviations about an operating point (x, u).

    With J = diag φ'(v) and S = (I − J D11)⁻¹ J: A + B1 S C1, B2 + B1 S D12, C2 + D21 S C1, D22 + D21 S D12.

    Args:
        lfr: a discrete LFR.
        x: (nx,) the state; None is zero.
        u: (nu,) the input; None is zero.

    Returns:
        The linearisation, float64.

    Raises:
        InputError: a continuous LFR, or a wrong shape.
    """
    if lfr.dt is None:
        raise InputError("this LFR is in continuous time; discretise it first: eqnets.discretise(lfr, dt, 'midpoint').")
    dt, lfr = lfr.dt, lfr.detach().to("cpu", torch.float64)
    x = torch.zeros(lfr.nx, dtype=torch.float64) if x is None else x.to(torch.float64)
    u = torch.zeros(lfr.nu, dtype=torch.float64) if u is None else u.to(torch.float64)
    if x.shape != (lfr.nx,) or u.shape != (lfr.nu,):
        raise InputError(
            f"an operating point has x ({lfr.nx},) and u ({lfr.nu},); got {tuple(x.shape)}, {tuple(u.shape)}."
        )
    S = gain_of_neurons(lfr, x, u)
    return LTI(
        lfr.A + lfr.B1 @ S @ lfr.C1, lfr.B2 + lfr.B1 @ S @ lfr.D12,
        lfr.C2 + lfr.D21 @ S @ lfr.C1, lfr.D22 + lfr.D21 @ S @ lfr.D12, dt,
    )  # fmt: skip


def gain_of_neurons(lfr: LFR, x: Tensor, u: Tensor) -> Tensor:
    """S = (I − J D11)⁻¹ J at an operating point: how w answers to its argument.

    Args:
        lfr: the system.
        x: (nx,) the state.
        u: (nu,) the input.

    Returns:
        S (nv, nv).
    """
    w = neurons_at(lfr, x[None], u[None])
    v = lfr.C1 @ x + lfr.D11 @ w[0] + lfr.D12 @ u + lfr.bv
    J = lfr.activation.derivative(v)
    return torch.linalg.solve(torch.eye(lfr.nv, dtype=v.dtype) - J[:, None] * lfr.D11, torch.diag(J))


def neurons_at(lfr: LFR, x: Tensor, u: Tensor) -> Tensor:
    """The neurons w (batch, nv) at states x (batch, nx) and inputs u (batch, nu), without gradients."""
    probe = lfr.replace(
        C2=torch.zeros(lfr.nv, lfr.nx, dtype=lfr.dtype), D21=torch.eye(lfr.nv, dtype=lfr.dtype),
        D22=torch.zeros(lfr.nv, lfr.nu, dtype=lfr.dtype), by=torch.zeros(lfr.nv, dtype=lfr.dtype),
        y_names=None, y_units=None,
    )  # fmt: skip
    with torch.no_grad():
        return simulate(probe, u[:, None], x)[0][:, 0]
