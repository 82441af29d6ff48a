"""Linear time-invariant systems in discrete time, and the matrix equations of certificates and controllers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import LFR


@dataclass(frozen=True, eq=False)
class LTI:
    """x⁺ = A x + B u, y = C x + D u, float64.

    Args:
        A: (nx, nx); nx = 0 is a static gain.
        B: (nx, nu).
        C: (ny, nx).
        D: (ny, nu).
        dt: the sample time in seconds.

    Raises:
        InputError: shapes that do not fit, entries that are not finite, or dt not positive.
    """

    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    dt: float = 1.0

    def __post_init__(self) -> None:
        for name in "ABCD":
            value = getattr(self, name)
            tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=float))
            tensor = tensor.to("cpu", torch.float64)
            if tensor.ndim != 2 or not bool(torch.isfinite(tensor).all()):
                raise InputError(
                    f"LTI block {name} must be a matrix of finite numbers; got shape {tuple(tensor.shape)}."
                )
            object.__setattr__(self, name, tensor)
        nx, nu, ny = self.A.shape[0], self.D.shape[1], self.D.shape[0]
        for name, shape in {"A": (nx, nx), "B": (nx, nu), "C": (ny, nx)}.items():
            if tuple(getattr(self, name).shape) != shape:
                got = tuple(getattr(self, name).shape)
                raise InputError(
                    f"LTI block {name} has shape {got}, but A and D (nx={nx}, nu={nu}, ny={ny}) need {shape}."
                )
        if not (float(self.dt) > 0 and math.isfinite(self.dt)):
            raise InputError(f"dt must be a positive number of seconds; got {self.dt}.")

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.A.shape[0]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.D.shape[1]

    @property
    def ny(self) -> int:
        """Number of outputs."""
        return self.D.shape[0]

    def to_lfr(self, **labels: Any) -> LFR:
        """The same system as an LFR without neurons; `labels` are the LFR's names and units."""
        return LFR(A=self.A, B2=self.B, C2=self.C, D22=self.D, dt=self.dt, **labels)

    def transform(self, T: Tensor) -> LTI:
        """The same input–output map in the coordinates x̃ = T x; T (nx, nx) invertible."""
        inverse = torch.linalg.inv(T)
        return LTI(T @ self.A @ inverse, T @ self.B, self.C @ inverse, self.D, self.dt)

    def spectral_radius(self) -> float:
        """Max |λ(A)|, 0 for nx = 0."""
        return float(torch.linalg.eigvals(self.A).abs().max()) if self.nx else 0.0

    def frequency_response(self, omega: Tensor) -> Tensor:
        """G(e^{jω dt}) = C (zI − A)⁻¹ B + D.

        Args:
            omega: (k,) angular frequencies in rad/s.

        Returns:
            (k, ny, nu), complex128.
        """
        omega = torch.as_tensor(omega, dtype=torch.float64)
        z = torch.exp(1j * omega * self.dt)
        resolvent = z[:, None, None] * torch.eye(self.nx, dtype=torch.complex128) - self.A
        states = torch.linalg.solve(resolvent, self.B.to(torch.complex128).expand(len(z), -1, -1))
        return self.C.to(torch.complex128) @ states + self.D


def lyapunov(A: Tensor, Q: Tensor) -> Tensor:
    """The solution P of Aᵀ P A − P + Q = 0 for ρ(A) < 1.

    Args:
        A: (nx, nx), float64.
        Q: (nx, nx), symmetric.

    Returns:
        P (nx, nx), symmetric float64.

    Raises:
        InputError: ρ(A) ≥ 1.
    """
    if A.shape[0] == 0:
        return torch.zeros(0, 0, dtype=torch.float64)
    radius = float(torch.linalg.eigvals(A).abs().max())
    if radius >= 1:
        raise InputError(f"the Lyapunov equation needs a stable matrix, but its spectral radius is {radius:.6g}.")
    P = torch.from_numpy(scipy.linalg.solve_discrete_lyapunov(A.numpy().T, Q.numpy()))
    return (P + P.T) / 2


def riccati(A: Tensor, B: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    """The stabilising solution P of P = AᵀPA − AᵀPB (R + BᵀPB)⁻¹ BᵀPA + Q.

    Args:
        A: (nx, nx), float64.
        B: (nx, nu).
        Q: (nx, nx), symmetric, positive semidefinite.
        R: (nu, nu), symmetric, positive definite.

    Returns:
        P (nx, nx), symmetric float64.

    Raises:
        InputError: there is none: a mode on or outside the unit circle is not reached by B, or not weighted by Q.
    """
    try:
        P = torch.from_numpy(scipy.linalg.solve_discrete_are(A.numpy(), B.numpy(), Q.numpy(), R.numpy()))
    except (np.linalg.LinAlgError, ValueError) as error:
        raise InputError(
            "the Riccati equation has no stabilising solution: a mode that does not decay by itself is not reached by "
            f"the input, or has no weight ({error}). Give it a weight, or another input."
        ) from error
    return (P + P.T) / 2


def hinf_norm(lti: LTI, rtol: float = 1e-9) -> float:
    """The H∞ norm max_ω σ̄(G(e^{jω})), the ℓ2 gain of a stable system.

    A bilinear transform, which keeps the norm, and then the two-step algorithm of Bruinsma and Steinbuch (1990): the
    answer is at most `rtol` below the norm.

    Args:
        lti: the system.
        rtol: the relative tolerance.

    Returns:
        The norm; inf where ρ(A) ≥ 1.
    """
    if lti.nx == 0 or min(lti.nu, lti.ny) == 0:
        return float(torch.linalg.matrix_norm(lti.D, 2)) if min(lti.nu, lti.ny) else 0.0
    if lti.spectral_radius() >= 1:
        return math.inf

    def gain(theta: np.ndarray) -> np.ndarray:
        response = lti.frequency_response(torch.from_numpy(np.asarray(theta)) / lti.dt)
        return torch.linalg.matrix_norm(response, 2).numpy()

    poles = torch.linalg.eigvals(lti.A).numpy()
    best = float(gain(np.concatenate([np.abs(np.angle(poles)), np.linspace(0, np.pi, 65)])).max())
    if best == 0.0:
        return 0.0
    # z = (1 + s)/(1 − s): A_c = (A + I)⁻¹(A − I), a continuous system with the same norm
    shift = np.linalg.inv(lti.A.numpy() + np.eye(lti.nx))
    A = shift @ (lti.A.numpy() - np.eye(lti.nx))
    B = math.sqrt(2) * shift @ lti.B.numpy()
    C = math.sqrt(2) * lti.C.numpy() @ shift
    D = lti.D.numpy() - lti.C.numpy() @ shift @ lti.B.numpy()
    for _ in range(50):
        gamma = best * (1 + rtol)
        R = gamma**2 * np.eye(lti.nu) - D.T @ D
        if np.linalg.eigvalsh(R)[0] <= 0:
            best = float(np.linalg.norm(D, 2))
            continue
        Ri = np.linalg.inv(R)
        F = A + B @ Ri @ D.T @ C
        hamiltonian = np.block([[F, B @ Ri @ B.T], [-C.T @ (np.eye(lti.ny) + D @ Ri @ D.T) @ C, -F.T]])
        eigenvalues = np.linalg.eigvals(hamiltonian)
        on_axis = np.abs(eigenvalues.real) < 1e-8 * (1 + np.abs(eigenvalues))
        crossings = np.unique(np.abs(eigenvalues.imag[on_axis]))
        if len(crossings) == 0:
            return best
        theta = 2 * np.arctan(crossings)  # s = j tan(θ/2)
        found = float(gain(np.concatenate([theta, (theta[1:] + theta[:-1]) / 2])).max())
        if found <= best * (1 + rtol / 2):
            return max(best, found)
        best = found
    return best


def bounded_real(lti: LTI, gamma: float) -> Tensor:
    """A P ≻ 0 that proves ‖G‖∞ < γ: the strict discrete bounded-real inequality

        [ AᵀPA − P + CᵀC   AᵀPB + CᵀD            ]
        [ BᵀPA + DᵀC       BᵀPB + DᵀD − γ² I     ]  ≺ 0,

    taken from the stabilising solution of the Riccati equation at a level between ‖G‖∞ and γ.

    Args:
        lti: the system.
        gamma: the level, above ‖G‖∞.

    Returns:
        P (nx, nx), symmetric positive definite, float64.

    Raises:
        InputError: γ ≤ ‖G‖∞, or so close that no strict solution is found in float64.
    """  # noqa: D415
    norm = hinf_norm(lti)
    if not norm < gamma:
        raise InputError(
            f"the linear system has the gain ‖G‖∞ = {norm:.6g}, which is not below gamma = {gamma:.6g}; ask for a larger "  # noqa: E501
            "gamma, or scale the system down first."
        )
    if lti.nx == 0:
        return torch.zeros(0, 0, dtype=torch.float64)
    A, B, C, D = (block.numpy() for block in (lti.A, lti.B, lti.C, lti.D))
    weight = gamma**2 * (np.trace(C.T @ C) / gamma**2 + 1.0) / lti.nx
    for share, epsilon in ((0.5, 1e-3), (0.5, 1e-5), (0.8, 1e-6), (0.9, 1e-8), (0.95, 1e-10)):
        level = norm + share * (gamma - norm)
        try:
            P = scipy.linalg.solve_discrete_are(
                A, B, C.T @ C + epsilon * weight * np.eye(lti.nx), D.T @ D - level**2 * np.eye(lti.nu), s=C.T @ D
            )
        except (np.linalg.LinAlgError, ValueError):
            continue
        P = (P + P.T) / 2
        AB = np.hstack([A, B])
        CD = np.hstack([C, D])
        corner = scipy.linalg.block_diag(P, gamma**2 * np.eye(lti.nu))
        margin = corner - AB.T @ P @ AB - CD.T @ CD
        scale = 1 / np.sqrt(np.maximum(np.diag(margin), 1e-300))
        if np.linalg.eigvalsh(P)[0] > 0 and np.linalg.eigvalsh(scale[:, None] * margin * scale)[0] > 1e-12:
            return torch.from_numpy(P)
    raise InputError(
        f"gamma = {gamma:.6g} is too close to the gain ‖G‖∞ = {norm:.6g} for a strict solution in float64; ask for a "
        "slightly larger gamma."
    )
