"""LFR algebra: systems side by side, and a wiring that closes them into one LFR again.

Side by side, `append` stacks the blocks diagonally. A wiring then says what enters and what is seen,

    u = K y + L r        z = M y + N r        r the outer input, z the outer output,

and with y = C2 x + D21 w + D22 u + by the inner signals are eliminated: u = T (K (C2 x + D21 w + by) + L r) with
T = (I − K D22)⁻¹. States and neurons keep their order, so that storages and multipliers of the parts fit the whole as
block-diagonal P and Λ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.lti import LTI
from eqnets.system.nonlinearity import Activation, Nonlinearity, get

System = LFR | LTI
_LABELS = ("u_names", "y_names", "u_units", "y_units")


def append(*systems: System) -> LFR:
    """The systems side by side: inputs, states, neurons and outputs stacked in the given order, nothing connected.

    Args:
        systems: LFRs or LTIs of one sample time and dtype.

    Returns:
        The LFR, differentiable in every block. Names and units are kept where every system has them.

    Raises:
        InputError: there is no system, or sample times, dtypes or devices differ.
    """  # noqa: DOC502
    parts = [as_lfr(system) for system in systems]
    _check_alike(parts)
    blocks: dict[str, Any] = {}
    for name in BLOCKS:
        each = [getattr(part, name) for part in parts]
        blocks[name] = torch.cat(each) if each[0].ndim == 1 else torch.block_diag(*each)
    labels: dict[str, Any] = {}
    for name in _LABELS:
        given = [getattr(part, name) for part in parts]
        labels[name] = None if any(names is None for names in given) else sum(given, ())
    return LFR(**blocks, activation=_activation(parts), dt=parts[0].dt, **labels)


def connect(system: System, K: Tensor, L: Tensor, M: Tensor, N: Tensor | None = None, **labels: Any) -> LFR:
    """Close the loop u = K y + L r of one system, and look at z = M y + N r.

    Args:
        system: usually several, from `append`.
        K: (nu, ny), from the outputs to the inputs.
        L: (nu, nr), from the outer input to the inputs.
        M: (nz, ny), from the outputs to the outer output.
        N: (nz, nr), from the outer input to the outer output; None is zero.
        labels: names and units of r and z, as an LFR takes them.

    Returns:
        The LFR from r to z with the states and neurons of `system`, in their order, differentiable in every matrix.

    Raises:
        InputError: a matrix has the wrong shape, or the wiring closes an algebraic loop without exactly one solution:
            I − K D22 is singular, or det(I − D11 J) changes its sign over the slopes J of the neurons. That there is
            one solution is shown by `certify(WellPosed(), …)`, and by every other claim that is certified.
    """
    lfr = as_lfr(system)
    K, L, M = (matrix.to(lfr.device, lfr.dtype) for matrix in (K, L, M))
    N = torch.zeros(M.shape[0], L.shape[1], dtype=lfr.dtype, device=lfr.device) if N is None else N.to(K)
    nu, ny = lfr.nu, lfr.ny
    shapes = {"K": (K, (nu, ny)), "L": (L, (nu, L.shape[1])), "M": (M, (M.shape[0], ny)),
              "N": (N, (M.shape[0], L.shape[1]))}  # fmt: skip
    for name, (matrix, shape) in shapes.items():
        if tuple(matrix.shape) != shape:
            raise InputError(f"{name} of a wiring has shape {tuple(matrix.shape)}, but {shape} is needed.")
    T = _through(K @ lfr.D22)
    F, G = T @ K, T @ L  # u = F (C2 x + D21 w + by) + G r
    H = torch.eye(ny, dtype=lfr.dtype, device=lfr.device) + lfr.D22 @ F
    D11 = lfr.D11 + lfr.D12 @ F @ lfr.D21
    _check_neurons(D11, lfr.activation)
    return LFR(
        A=lfr.A + lfr.B2 @ F @ lfr.C2, B1=lfr.B1 + lfr.B2 @ F @ lfr.D21, B2=lfr.B2 @ G, bx=lfr.bx + lfr.B2 @ F @ lfr.by,
        C1=lfr.C1 + lfr.D12 @ F @ lfr.C2, D11=D11, D12=lfr.D12 @ G, bv=lfr.bv + lfr.D12 @ F @ lfr.by,
        C2=M @ H @ lfr.C2, D21=M @ H @ lfr.D21, D22=M @ lfr.D22 @ G + N, by=M @ H @ lfr.by,
        activation=lfr.activation, dt=lfr.dt, **labels,
    )  # fmt: skip


def series(*systems: System) -> LFR:
    """One system after the other: u → first → second → … → y.

    Args:
        systems: each takes the outputs of the one before, in number and in unit.

    Returns:
        The LFR, named as the first one's inputs and the last one's outputs. It is acyclic if all of them are.

    Raises:
        InputError: sizes, units, sample times or dtypes do not fit.
    """  # noqa: DOC502
    parts = [as_lfr(system) for system in systems]
    whole = append(*parts)
    K, L, M = (whole.D22.new_zeros(shape) for shape in ((whole.nu, whole.ny), (whole.nu, parts[0].nu),
                                                        (parts[-1].ny, whole.ny)))  # fmt: skip
    row, column = parts[0].nu, 0
    for before, after in zip(parts, parts[1:], strict=False):
        check_join("series", before, after)
        K[row : row + after.nu, column : column + before.ny] = torch.eye(after.nu)
        row, column = row + after.nu, column + before.ny
    L[: parts[0].nu] = torch.eye(parts[0].nu)
    M[:, -parts[-1].ny :] = torch.eye(parts[-1].ny)
    return connect(whole, K, L, M, **_outer(parts[0], parts[-1]))


def parallel(*systems: System, signs: tuple[float, ...] | None = None) -> LFR:
    """One input for all, outputs added: y = ± y₁ ± y₂ …; with signs (1, −1) the difference of two models.

    Args:
        systems: of equal numbers of inputs and outputs.
        signs: one per system; None adds them all.

    Returns:
        The LFR, named as the first system.

    Raises:
        InputError: sizes, units, sample times or dtypes differ, or there is not one sign per system.
    """
    parts = [as_lfr(system) for system in systems]
    whole = append(*parts)
    first = parts[0]
    signs = (1.0,) * len(parts) if signs is None else signs
    if len(signs) != len(parts):
        raise InputError(f"parallel has {len(parts)} systems and {len(signs)} signs; give one sign each.")
    for part in parts[1:]:
        _check_same("parallel", "inputs", first.nu, part.nu, first.u_units, part.u_units)
        _check_same("parallel", "outputs", first.ny, part.ny, first.y_units, part.y_units)
    like = {"dtype": whole.dtype, "device": whole.device}
    K = whole.D22.new_zeros(whole.nu, whole.ny)
    L = torch.eye(first.nu, **like).repeat(len(parts), 1)
    M = torch.cat([sign * torch.eye(first.ny, **like) for sign in signs], dim=1)
    return connect(whole, K, L, M, **_outer(first, first))


def feedback(plant: System, controller: System | None = None, sign: int = -1) -> LFR:
    """The loop u = r + sign · controller(y), y = plant(u), from r to y.

    Args:
        plant: from u to y.
        controller: from y to u; None is the identity.
        sign: −1 (negative feedback) or 1.

    Returns:
        The LFR with the states of the plant before those of the controller, named as the plant.

    Raises:
        InputError: sizes, units, sample times or dtypes do not fit, the sign is neither 1 nor −1, or the loop is not
            well posed, see `connect`.
    """  # noqa: DOC502
    if sign not in (-1, 1):
        raise InputError(f"the sign of a feedback is -1 or 1, got {sign}; put gains into the controller.")
    first = as_lfr(plant)
    if controller is None:
        _check_same("feedback", "outputs and inputs", first.ny, first.nu, first.y_units, first.u_units)
        eye = torch.eye(first.nu, dtype=first.dtype, device=first.device)
        return connect(first, sign * eye, eye, eye, **_outer(first, first))
    second = as_lfr(controller)
    check_join("feedback", first, second)
    check_join("feedback", second, first)
    whole = append(first, second)
    K, L, M = (whole.D22.new_zeros(shape) for shape in ((whole.nu, whole.ny), (whole.nu, first.nu),
                                                        (first.ny, whole.ny)))  # fmt: skip
    K[: first.nu, first.ny :] = sign * torch.eye(first.nu)
    K[first.nu :, : first.ny] = torch.eye(first.ny)
    L[: first.nu] = torch.eye(first.nu)
    M[:, : first.ny] = torch.eye(first.ny)
    return connect(whole, K, L, M, **_outer(first, first))


def as_lfr(system: System) -> LFR:
    """An LTI as an LFR without neurons; an LFR as it is.

    Raises:
        InputError: it is neither.
    """  # noqa: DOC201
    if isinstance(system, LTI):
        return system.to_lfr()
    if not isinstance(system, LFR):
        raise InputError(f"only an LFR or an LTI can be connected, got {type(system).__name__}; give model.explicit().")
    return system


def check_join(where: str, before: LFR, after: LFR) -> None:
    """Refuse to feed outputs into inputs of another number or unit; an `InputError` says which."""
    _check_same(where, "outputs and the inputs that they feed", before.ny, after.nu, before.y_units, after.u_units)


def _check_same(where: str, what: str, one: int, other: int, units: Any, other_units: Any) -> None:
    if one != other:
        raise InputError(f"{where}: the numbers of {what} differ, {one} and {other}.")
    if units is not None and other_units is not None and units != other_units:
        raise InputError(
            f"{where}: the units of {what} differ, ({', '.join(units)}) and ({', '.join(other_units)}); put a gain "
            "between them, or rename the units."
        )


def _outer(first: LFR, last: LFR) -> dict[str, Any]:
    return {"u_names": first.u_names, "u_units": first.u_units, "y_names": last.y_names, "y_units": last.y_units}


def _check_alike(parts: list[LFR]) -> None:
    if not parts:
        raise InputError("there is nothing to connect; give at least one LFR or LTI.")
    times = {part.dt for part in parts}
    if len(times) > 1:
        words = ", ".join("continuous" if dt is None else f"{dt:g} s" for dt in (part.dt for part in parts))
        raise InputError(
            f"connected systems share one sample time, but they have: {words}. Discretise or resample one."
        )
    kinds = {(part.dtype, part.device) for part in parts}
    if len(kinds) > 1:
        words = ", ".join(f"{part.dtype} on {part.device}" for part in parts)
        raise InputError(f"connected systems share one dtype and device, but they have: {words}. Use lfr.to(…).")


def _activation(parts: list[LFR]) -> Activation:
    each: list[str | Nonlinearity] = [neuron for part in parts for neuron in part.activation.each(part.nv)]
    return get(each if len(set(each)) > 1 else each[0]) if each else get("relu")


def _through(loop: Tensor) -> Tensor:
    """(I − K D22)⁻¹. Where no signal returns to itself, the sum I + K D22 + … ends, and zeros stay exactly zero."""
    eye = torch.eye(len(loop), dtype=loop.dtype, device=loop.device)
    total, power = eye, loop
    for _ in range(len(loop)):
        if not bool(power.detach().any()):
            return total
        total, power = total + power, power @ loop
    matrix = (eye - loop).detach()
    scaled = matrix / matrix.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(loop.dtype).tiny)
    smallest = float(torch.linalg.svdvals(scaled)[-1]) if bool(torch.isfinite(scaled).all()) else 0.0
    if smallest <= 4 * len(loop) * torch.finfo(loop.dtype).eps:
        raise InputError(
            "the direct feedthroughs (D22) close an algebraic loop without exactly one solution: I − K D22 is "
            "singular. Change a gain, or let one system of the loop answer one sample later."
        )
    return torch.linalg.inv(eye - loop)


def _check_neurons(D11: Tensor, activation: Activation) -> None:
    """Refuse w = φ(D11 w + b) where det(I − D11 J) changes its sign between the slopes' bounds.

    The continuous map v ↦ v − D11 φ(v) then folds: an injective one has a Jacobian of one sign (degree theory).

    Raises:
        InputError: it does.
    """
    nv = len(D11)
    if not bool(torch.triu(D11.detach()).any()):
        return
    eye, D11 = torch.eye(nv, dtype=torch.float64), D11.detach().to("cpu", torch.float64)
    signs = {float(torch.linalg.slogdet(eye - D11 * slopes)[0]) for slopes in activation.slopes(nv)}
    if {1.0, -1.0} <= signs:
        raise InputError(
            "the direct feedthroughs close a loop through the neurons that has no solution or several for some "
            "signals: det(I − D11 J) changes its sign over the slopes of the neurons. Change a gain, or let one system "
            "of the loop answer one sample later."
        )


__all__ = ["System", "append", "connect", "feedback", "parallel", "series"]
