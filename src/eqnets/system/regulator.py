"""Controllers designed on a linearisation: PI by a rule, and LQR with or without integral action.

A rule gives the gains; whether the loop with the nonlinear model keeps a promise is then for `certify` to say.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.connect import connect, feedback, series
from eqnets.system.lti import LTI, hinf_norm, riccati
from eqnets.system.simulate import linearise

_ROOM = 0.9
"""Of the small-gain theorem's 1: what is left over pays for the speed of the loop."""


def pi(plant: LTI, sensitivity: float = 1.4, uncertainty: float = 0.0) -> LTI:
    """The PI controller u = Kp (e + ξ/Ti), ξ⁺ = ξ + dt·e of a stable plant, by a rule that has one number.

    Ti is the plant's average residence time, the mean of its impulse response, Σ k dt h_k / Σ h_k: the time constant of
    a first-order plant, whose pole is then cancelled, and the sum of lags of a longer one (Åström & Hägglund 2006, ch.
    2). Kp is the largest gain, on the way up from zero, with max |S| ≤ `sensitivity`, S = 1/(1 + GC): the loop keeps a
    distance of 1/`sensitivity` from the point −1 (ch. 4). Where the plant is G + Δ, and Δ has the incremental gain γ,
    Kp also keeps γ max |CS| ≤ 0.9, so that the loop contracts by the small-gain theorem.

    Args:
        plant: one input, one output, ρ(A) < 1, a static gain that is not zero.
        sensitivity: > 1; 1.4 is cautious, 2 is brisk.
        uncertainty: γ, in the unit of y per unit of u. At rest |CS| = 1/|G|: integral action needs γ < 0.9 |G(0)|.

    Returns:
        The controller from e to u, one state, in the units that the plant's numbers are in.

    Raises:
        InputError: the plant has other channels, is not stable, has no static gain, or a residence time that is not
            positive (it answers in the wrong direction first); or the sensitivity or the uncertainty is out of range.
    """
    if (plant.nu, plant.ny) != (1, 1):
        raise InputError(f"a PI controller is for one input and one output; the plant has {plant.nu} and {plant.ny}.")
    if not 1 < sensitivity < math.inf:
        raise InputError(f"the largest sensitivity of a loop exceeds 1, got {sensitivity}; 1.4 is a usual choice.")
    if plant.spectral_radius() >= 1:
        raise InputError("the rule for PI needs a stable plant; use lqr, or stabilise it first.")
    at_rest = torch.linalg.inv(torch.eye(plant.nx, dtype=torch.float64) - plant.A)
    gain = float((plant.C @ at_rest @ plant.B + plant.D)[0, 0])
    moment = plant.dt * float((plant.C @ at_rest @ at_rest @ plant.B)[0, 0])  # Σ k dt h_k
    if not abs(gain) > 1e-12 * float(plant.frequency_response(torch.tensor([math.pi / plant.dt])).abs().max()):
        raise InputError(
            "the static gain of this plant is zero: no constant input moves its output, and PI cannot help."
        )
    if not 0 <= uncertainty < _ROOM * abs(gain):
        raise InputError(
            f"the uncertainty of a plant under integral action lies between 0 and {_ROOM:g} of its static gain, "
            f"{_ROOM * abs(gain):.4g} here; got {uncertainty:.4g}. Choose a nominal plant nearer to the middle."
        )
    Ti = moment / gain
    if Ti <= 0:
        raise InputError(
            f"the average residence time of this plant is {Ti:.3g} s: it answers in the wrong direction first, and the "
            "rule for PI does not apply; use lqr."
        )
    one = torch.ones(1, 1, dtype=torch.float64)

    def controller(Kp: float) -> LTI:
        return LTI(one, plant.dt * one, Kp / Ti * one, Kp * one, plant.dt)

    def keeps(Kp: float) -> bool:
        C = controller(Kp)
        S = connect(series(C, plant), -one, one, -one, one)  # from r to r − y
        if hinf_norm(linearise(S), rtol=1e-6) > sensitivity:
            return False
        CS = feedback(C, plant)  # from r to u
        return uncertainty == 0 or uncertainty * hinf_norm(linearise(CS), rtol=1e-6) <= _ROOM

    low = 1e-4 / gain
    while keeps(2 * low) and abs(low * gain) < 1e6:
        low = 2 * low
    high = 2 * low
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return controller(low)


def lqr(plant: LTI, Q: Tensor, R: Tensor) -> Tensor:
    """The gain K of u = −K x that minimises Σ xᵀQx + uᵀRu.

    Args:
        plant: the linearisation, or `with_integrator` of it.
        Q: (nx, nx), symmetric, positive semidefinite.
        R: (nu, nu), symmetric, positive definite.

    Returns:
        K (nu, nx), float64; A − B K is stable.

    Raises:
        InputError: the Riccati equation has no stabilising solution.
    """  # noqa: DOC502
    P = riccati(plant.A, plant.B, Q, R)
    return torch.linalg.solve(R + plant.B.T @ P @ plant.B, plant.B.T @ P @ plant.A)  # (R + BᵀPB)⁻¹ BᵀPA


def with_integrator(plant: LTI) -> LTI:
    """The plant with the integral ξ⁺ = ξ − dt·y of its output's error (at r = 0) as further states.

    Args:
        plant: a linearisation.

    Returns:
        States (x, ξ), nx + ny of them; input u, output y.
    """
    nx, ny = plant.nx, plant.ny
    A = torch.cat([torch.cat([plant.A, torch.zeros(nx, ny)], 1), torch.cat([-plant.dt * plant.C, torch.eye(ny)], 1)])
    B, C = torch.cat([plant.B, -plant.dt * plant.D]), torch.cat([plant.C, torch.zeros(ny, ny)], 1)
    return LTI(A, B, C, plant.D, plant.dt)


def integral_state_feedback(K: Tensor, plant: LTI) -> LTI:
    """The controller u = −K (x, ξ) with ξ⁺ = ξ + dt·e, for a K of `lqr(with_integrator(plant), …)`.

    Args:
        K: (nu, nx + ny).
        plant: the linearisation that it was designed on.

    Returns:
        ny states; inputs e = r − y (ny) and x (nx) or its estimate; output u (nu).

    Raises:
        InputError: K has another shape.
    """
    nx, nu, ny = plant.nx, plant.nu, plant.ny
    if tuple(K.shape) != (nu, nx + ny):
        raise InputError(f"K has shape {tuple(K.shape)}, but (nu, nx + ny) = ({nu}, {nx + ny}) is needed.")
    B = torch.cat([plant.dt * torch.eye(ny), torch.zeros(ny, nx)], dim=1)
    return LTI(torch.eye(ny), B, -K[:, nx:], torch.cat([torch.zeros(nu, ny), -K[:, :nx]], dim=1), plant.dt)


__all__ = ["integral_state_feedback", "lqr", "pi", "with_integrator"]
