"""Where training starts: an explicit system with (P, Λ) that keeps the promise with a healthy margin.

`linear_start` holds a given linear system exactly and adds neurons that do not act yet (B1 = 0, D21 = 0) but listen
(C1, D12, D11, bv random). `random_start` is a linear system with a long memory, whose neurons act a little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.models.inverse import implicit, margin
from eqnets.models.supply import frame, gain_supply, scatter, unscatter
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI, bounded_real, hinf_norm, lyapunov
from eqnets.system.nonlinearity import Activation
from eqnets.system.witness import Supply

_FORGET = 0.05  # the fastest mode of a random start has the pole ᾱ(1 − 0.05)


@dataclass(frozen=True, eq=False)
class Start:
    """An explicit system and the (P, Λ) that proves the promise for it.

    Args:
        lfr: the system, float64.
        P: (nx, nx), symmetric positive definite.
        Lambda: (nv,), positive.
    """

    lfr: LFR
    P: Tensor
    Lambda: Tensor


def linear_start(
    lti: LTI, nv: int, *, rate: float, gamma: float | None, activation: Activation, generator: torch.Generator | None,
    x_scale: Tensor | None = None, u_scale: Tensor | None = None, supply: Supply | None = None,
) -> Start:  # fmt: skip
    """A linear system in its own coordinates, with nv neurons that listen but do not act yet.

    Args:
        lti: the linear system, with ρ(A) < rate, and a gain below gamma, or the supply kept, where one is promised.
        nv: the number of neurons.
        rate: ᾱ in (0, 1].
        gamma: the gain bound, or None for contraction alone.
        activation: of the neurons.
        generator: source of randomness.
        x_scale: (nx,) typical size of each state; None: its standard deviation under white inputs of size u_scale.
        u_scale: (nu,) typical size of each input; None is 1.
        supply: another supply than that of a gain bound; with gamma None.

    Returns:
        The start.

    Raises:
        InputError: the linear system does not keep the promise; the message says by how much.
    """
    radius = lti.spectral_radius()
    if not radius < rate:
        raise InputError(
            f"the linear model has the spectral radius {radius:.9g}, which is not below the rate {rate:g} (by "
            f"{radius - rate:.3g}); ask for a larger rate, or bring it inside with eqnets.models.shrink(lti, rate=...)."
        )
    u_scale = _sizes("u_scale", u_scale, lti.nu, torch.ones(lti.nu, dtype=torch.float64))
    x_scale = _sizes("x_scale", x_scale, lti.nx, _state_size(lti, u_scale))
    C1, D11, D12, bv = _neurons(lti.nx, nv, lti.nu, x_scale, u_scale, generator)
    listen, half = torch.cat([C1, D12], dim=1), _half_power(D11)
    faster = LTI(lti.A / rate, lti.B / rate, lti.C, lti.D, lti.dt)  # G(ᾱz): ᾱ²P − AᵀPA becomes P − AᵀPA
    if gamma is None and supply is None:
        P = lyapunov(faster.A, torch.diag(x_scale**-2)) / rate**2
        if lti.nx:  # contraction alone is free in the scale of (P, Λ)
            P = P / float(torch.diagonal(P).log().mean().exp())
    else:  # neurons, states and inputs, as they will be seen from (x, u)
        seen = torch.cat([half @ listen, torch.block_diag(torch.diag(1 / x_scale), torch.diag(1 / u_scale))])
        if gamma is not None:
            P = _storage_for_gain(faster, gamma, seen) / (gamma * rate**2)
        else:
            assert supply is not None
            image, back = scatter(faster, supply)
            norm = hinf_norm(image)
            if not norm < 1:
                raise InputError(
                    f"the linear model does not keep the supply at the rate {rate:g}: seen as a gain (the scattering "
                    f"transform) it is {norm:.6g}, and must stay below 1; ask for a weaker supply, or move it inside: "
                    "eqnets.models.shrink(lti, supply=...)."
                )
            P = _storage_for_gain(image, 1.0, seen @ back) / rate**2
    supply = supply if gamma is None else gain_supply(gamma, lti.nu, lti.ny)
    Lambda = _multiplier(lti, P, listen, half, rate, supply)
    lfr = LFR(
        A=lti.A, B2=lti.B, C2=lti.C, D22=lti.D, C1=C1, D11=D11, D12=D12, bv=bv, B1=torch.zeros_like(C1.mT),
        D21=torch.zeros(lti.ny, nv, dtype=torch.float64), activation=activation, dt=lti.dt,
    )  # fmt: skip
    return Start(lfr, P, Lambda)


def random_start(
    nu: int, nx: int, nv: int, ny: int, *, rate: float, gamma: float | None, activation: Activation, dt: float,
    generator: torch.Generator | None, supply: Supply | None = None,
) -> Start:  # fmt: skip
    """A random system with a long memory: A = ᾱ(I − 0.05 U), U uniform, states of unit size under white inputs.

    With a gain bound, B2 = √s V, C2 = (γ/4) U √s, ‖U‖ = ‖V‖ = 1, s = ᾱ² − a², D22 = 0, which P = γI/8 proves; another
    supply is seen as a gain bound (`supply`), which has the same P. Then the neurons are let in, with B1 and D21 as
    large as half of the margin allows.

    Args:
        nu: number of inputs.
        nx: number of states.
        nv: number of neurons.
        ny: number of outputs.
        rate: ᾱ in (0, 1].
        gamma: the gain bound, or None for contraction alone.
        activation: of the neurons.
        dt: the sample time in seconds.
        generator: source of randomness.
        supply: another supply than that of a gain bound; with gamma None.

    Returns:
        The start.
    """
    a = rate * (1 - _FORGET * (0.02 + 0.98 * _rand(nx, generator=generator)))
    V, U = _randn(nx, nu, generator=generator), _randn(ny, nx, generator=generator)
    s = rate**2 - a**2
    unit = 1.0  # the size of ũ where u has size 1
    if supply is not None:
        unit = float(torch.linalg.matrix_norm(torch.linalg.inv(frame(supply).V22), 2)) if nu else 1.0
        gamma = unit**2
    if gamma is None:
        rows = torch.linalg.vector_norm(V, dim=1, keepdim=True).clamp_min(1e-300)
        B2 = (1 - a**2).sqrt()[:, None] * V / rows
        C2 = U / math.sqrt(max(nx, 1))
        P = torch.diag(s.log().mean().exp() / s)
    else:
        B2 = s.sqrt()[:, None] * V / _norm(V)
        C2 = gamma / 4 * U / _norm(U) * s.sqrt()
        P = torch.eye(nx, dtype=torch.float64) * gamma / 8
    lti = LTI(torch.diag(a), B2, C2, torch.zeros(ny, nu), dt)
    if supply is not None:
        lti = unscatter(LTI(lti.A, B2 / unit, C2 / unit, lti.D, dt), supply)
    # a gain bound leaves slow states little room (γ s/16): the neurons listen to them less
    x_scale = torch.ones_like(s) if gamma is None or nx == 0 else (s.max() / s).sqrt()
    C1, D11, D12, bv = _neurons(nx, nv, nu, x_scale, torch.ones(nu, dtype=torch.float64), generator)
    if supply is None and gamma is not None:
        supply = gain_supply(gamma, nu, ny)
    Lambda = _multiplier(lti, P, torch.cat([C1, D12], dim=1), _half_power(D11), rate, supply)
    B1 = s.sqrt()[:, None] * _randn(nx, nv, generator=generator) / math.sqrt(max(nv, 1))
    D21 = _randn(ny, nv, generator=generator) / math.sqrt(max(nv, 1))
    if gamma is not None:
        D21 = D21 * (gamma * Lambda).sqrt()
    lfr = LFR(
        A=lti.A, B1=B1, B2=lti.B, C1=C1, C2=lti.C, D11=D11, D12=D12, D21=D21, D22=lti.D, bv=bv, activation=activation,
        dt=dt,
    )  # fmt: skip
    if nv == 0:
        return Start(lfr, P, Lambda)
    silent = lfr.replace(B1=torch.zeros_like(B1), D21=torch.zeros_like(D21))
    enough = margin(implicit(silent, P, Lambda, rate, supply)[0]) / 2
    share = 0.5
    while margin(implicit(lfr, P, Lambda, rate, supply)[0]) < enough:
        lfr = lfr.replace(B1=share * B1, D21=D21 if gamma is None else share * D21)
        share /= 2
    return Start(lfr, P, Lambda)


def _neurons(
    nx: int, nv: int, nu: int, x_scale: Tensor, u_scale: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """C1, D11, D12, bv with C1 x + D12 u of unit size, λmax(D11 + D11ᵀ) ≤ 1, and kinks spread over ±1 and more."""
    rows = _randn(nv, nx + nu, generator=generator)
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-300)
    D11 = torch.tril(_randn(nv, nv, generator=generator), -1) / (2 * math.sqrt(max(nv, 1)))
    if nv:
        D11 = D11 / max(1.0, float(torch.linalg.eigvalsh(D11 + D11.mT)[-1]))
    bv = _randn(nv, generator=generator)
    return rows[:, :nx] / x_scale, D11, rows[:, nx:] / u_scale, bv


def _half_power(D11: Tensor) -> Tensor:
    """A root K of (2I − D11 − D11ᵀ)⁻¹ = KᵀK."""
    eye = torch.eye(len(D11), dtype=torch.float64)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(2 * eye - D11 - D11.mT), eye, upper=False)


def _multiplier(lti: LTI, P: Tensor, listen: Tensor, half: Tensor, rate: float, supply: Supply | None) -> Tensor:
    """Λ = λI, half of the largest λ for which neurons that only listen fit under the linear system's inequality M.

    The Schur complement is M − λ [C1 D12]ᵀ(2I − D11 − D11ᵀ)⁻¹[C1 D12] ≻ 0. Without a supply, u does not enter.

    Returns:
        Λ, (nv,).

    Raises:
        InputError: M is not positive definite in float64.
    """
    nx, nv = lti.nx, len(listen)
    A, B = lti.A, lti.B
    M = rate**2 * P - A.mT @ P @ A
    if supply is None:
        listen = listen[:, :nx]
    else:
        C, D = lti.C, lti.D
        corner = -A.mT @ P @ B + C.mT @ supply.Q @ D + C.mT @ supply.S.mT
        last = supply.R + supply.S @ D + D.mT @ supply.S.mT + D.mT @ supply.Q @ D - B.mT @ P @ B
        M = torch.cat([torch.cat([M + C.mT @ supply.Q @ C, corner], 1), torch.cat([corner.mT, last], 1)], 0)
    largest = 0.0
    if nv and len(M):
        scale = torch.diagonal(M).rsqrt()
        root, info = torch.linalg.cholesky_ex(scale[:, None] * M * scale)
        if int(info):
            raise InputError(
                "the linear model keeps the promise by less than float64 can tell; ask for a larger rate or gamma, or "
                "move it inside with eqnets.models.shrink."
            )
        seen = torch.linalg.solve_triangular(root, (half @ listen * scale).mT, upper=False)
        largest = float(torch.linalg.matrix_norm(seen, 2)) ** 2
    return torch.full((nv,), 0.5 / largest if largest > 0 else 1.0, dtype=torch.float64)


def _storage_for_gain(faster: LTI, gamma: float, N: Tensor) -> Tensor:
    """P of the strict bounded-real inequality with room left for what N sees of (x, u): neurons, states, inputs.

    ‖[G; √μ N]‖² ≤ ‖G‖² + μ‖N‖² < γ²: the inequality of the stacked system leaves μNᵀN in that of G.

    Returns:
        P (nx, nx) for the supply (−I, 0, γ²I).

    Raises:
        InputError: the gain is not below γ.
    """
    norm = hinf_norm(faster)
    if not norm < gamma:
        raise InputError(
            f"the linear model has the gain {norm:.9g} (at the asked rate), which is not below gamma = {gamma:g} "
            f"(by {norm - gamma:.3g}); ask for a larger gamma, or move it inside: eqnets.models.shrink(lti, gamma=...)."
        )
    nx, nu = faster.nx, faster.nu
    size = hinf_norm(LTI(faster.A, faster.B, N[:, :nx], N[:, nx:], faster.dt))
    root = math.sqrt((gamma**2 - norm**2) / 2) / size if size > 0 else 1.0
    C, D = torch.cat([faster.C, root * N[:, :nx]]), torch.cat([faster.D, root * N[:, nx:]])
    if nu == 0:
        return lyapunov(faster.A, C.mT @ C)
    return bounded_real(LTI(faster.A, faster.B, C, D, faster.dt), gamma)


def _state_size(lti: LTI, u_scale: Tensor) -> Tensor:
    """The standard deviation of each state under white inputs of size u_scale, at least 1 % of the largest."""
    B = lti.B * u_scale
    deviation = torch.diagonal(lyapunov(lti.A.mT.contiguous(), B @ B.mT)).clamp_min(0).sqrt()
    if not len(deviation) or not float(deviation.max()) > 0:
        return torch.ones(lti.nx, dtype=torch.float64)
    return deviation.clamp_min(1e-2 * float(deviation.max()))


def _sizes(name: str, given: Tensor | None, count: int, default: Tensor) -> Tensor:
    if given is None:
        return default
    sizes = torch.as_tensor(given, dtype=torch.float64).detach().cpu().expand(count)
    if not bool(((sizes > 0) & torch.isfinite(sizes)).all()):
        raise InputError(f"{name} must hold {count} positive numbers; a channel that never moves counts as 1.")
    return sizes


def _norm(matrix: Tensor) -> float:
    return max(float(torch.linalg.matrix_norm(matrix, 2)), 1e-300) if matrix.numel() else 1.0


def _randn(*shape: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _rand(*shape: int, generator: torch.Generator | None) -> Tensor:
    return torch.rand(*shape, generator=generator, dtype=torch.float64)
