"""The monotone equilibrium network z = σ(W z + U x + b) with (I − W) + (I − W)ᵀ ≽ 2mI for every parameter value.

Source: Winston & Kolter, "Monotone operator equilibrium networks", NeurIPS 2020.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eqnets.equilibrium.adjoint import Adjoint
from eqnets.equilibrium.solver import Solver
from eqnets.errors import InputError
from eqnets.models.inclusion import PEACEMAN_RACHFORD, InclusionModel, check_input, check_size, uniform
from eqnets.system import nonlinearity
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation
from eqnets.system.operator import Dense
from eqnets.system.witness import Supply, Witness


class MonotoneLinear(nn.Module):
    """Every W with (I − W) + (I − W)ᵀ ≽ 2mI, and only these: W = (1 − m)I − AᵀA + B − Bᵀ (proposition 1).

    Args:
        features: n.
        m: the margin, positive.
        generator: source of randomness.
        dtype: of the parameters; None is torch's default.

    Raises:
        InputError: a size or m that cannot be used.
    """  # noqa: DOC502

    def __init__(
        self, features: int, m: float = 1.0, *, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_size("features", features)
        if not 0 < float(m) < float("inf"):
            raise InputError(f"m must be a positive number; got {m!r}. Smaller m means more steps.")
        self.m = float(m)
        self.A, self.B = (
            uniform(features, features, fan_in=features, generator=generator, dtype=dtype) for _ in range(2)
        )

    def weight(self, dtype: torch.dtype | None = None) -> Tensor:
        """W, (n, n), in the parameters' dtype unless another is asked for."""
        A, B = (self.A, self.B) if dtype is None else (self.A.to(dtype), self.B.to(dtype))
        identity = torch.eye(len(A), dtype=A.dtype, device=A.device)
        return (1 - self.m) * identity - A.mT @ A + B - B.mT

    def forward(self, z: Tensor) -> Tensor:
        """W z for every row of z (…, n)."""
        return z @ self.weight().mT


class DenseInclusion(InclusionModel):
    """Base of the fully connected networks: the state is rows, and b(x) = U x + b."""

    in_features: int
    features: int
    U: nn.Parameter
    b: nn.Parameter | None

    def bias(self, x: Tensor) -> Tensor:
        """U x + b, (batch, n)."""
        check_input(x, self.in_features)
        return nn.functional.linear(x, self.U, self.b)

    def rows(self, z: Tensor) -> Tensor:
        """The state is rows already; refuses another size."""
        check_input(z, self.features, name="z0")
        return z

    def state(self, rows: Tensor) -> Tensor:
        """The state is rows already."""
        return rows


class MonotoneDEQ(DenseInclusion):
    """z = σ(W z + U x + b): exactly one equilibrium for every x and every parameter value, and a solver that finds it.

    Args:
        in_features: size of x.
        features: size of z.
        m: the margin, positive; the equilibrium moves by at most ‖U‖/m times what x moves.
        activation: a name or an object with slopes in [0, 1].
        solver: of the equilibrium: a splitting, or any solver of a fixed point (without its guarantee).
        adjoint: how to differentiate; None: exactly, by the same splitting with the same factor.
        rtol: relative tolerance; None is the default of the dtype.
        atol: absolute tolerance; None is the default of the dtype.
        max_steps: the most steps for a sample.
        on_failure: "warn", "raise" or "ignore", for the backward solve too.
        bias: whether b is there.
        generator: source of randomness.
        dtype: of the parameters; None is torch's default.

    Raises:
        InputError: a size, m, an option, or an activation that is no prox.
    """

    def __init__(
        self, in_features: int, features: int, m: float = 1.0, activation: str | Activation = "relu",
        solver: Solver = PEACEMAN_RACHFORD, *, adjoint: Adjoint | None = None, rtol: float | None = None,
        atol: float | None = None, max_steps: int = 1000, on_failure: str = "warn", bias: bool = True,
        generator: torch.Generator | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        found = admitted(activation, features)
        super().__init__(found, m, solver, adjoint, rtol, atol, max_steps, on_failure)
        check_size("in_features", in_features)
        self.in_features, self.features, self.activation = in_features, features, found
        self.linear = MonotoneLinear(features, m, generator=generator, dtype=dtype)
        self.U = uniform(features, in_features, fan_in=in_features, generator=generator, dtype=dtype)
        self.b = uniform(features, fan_in=in_features, generator=generator, dtype=dtype) if bias else None

    def weights(self) -> tuple[Tensor]:
        """W, (n, n)."""
        return (self.linear.weight(),)

    def operator(self, W: Tensor) -> Dense:
        """The operator of a matrix."""
        return Dense(W)

    def explicit(self) -> LFR:
        """The network as an LFR without state, y = z; float64, differentiable with respect to the parameters."""
        W, U = self.linear.weight(torch.float64), self.U.double()
        identity = torch.eye(self.features, dtype=W.dtype, device=W.device)
        b: dict[str, Any] = {} if self.b is None else {"bv": self.b.double()}
        return LFR(D11=W, D12=U, D21=identity, D22=torch.zeros_like(U), activation=self.activation, **b)

    @torch.no_grad()
    def lipschitz(self) -> float:
        """‖U‖₂/m, which bounds ‖z(x) − z(x')‖/‖x − x'‖."""
        return float(torch.linalg.matrix_norm(self.U.double(), 2)) / self.m

    @torch.no_grad()
    def witness(self) -> Witness:
        """Λ = I/‖U‖ and the gain γ = (1 + 10⁻⁶)‖U‖/m from x to z that it proves for `explicit()`; float64.

        With y = z the inequality is 2mλ ≥ 1/γ + λ²‖U‖²/γ, and λ = 1/‖U‖ is the best of its multiples of I.
        """  # noqa: DOC201
        norm = max(self.lipschitz() * self.m, 1e-12)
        gamma = (1 + 1e-6) * norm / self.m
        kind = {"dtype": torch.float64, "device": self.U.device}
        n, k = self.U.shape
        supply = Supply(-torch.eye(n, **kind) / gamma, torch.zeros(k, n, **kind), gamma * torch.eye(k, **kind))
        return Witness(torch.zeros(0, 0, **kind), torch.full((n,), 1 / norm, **kind), supply)

    def extra_repr(self) -> str:
        """The options, for print."""
        return f"{self.in_features}, {self.features}, m={self.m}, activation={self.activation.name}, {self.solver}"


def admitted(activation: str | Activation, features: int) -> Activation:
    """The activation, if it is a prox.

    Args:
        activation: a name or an object.
        features: n.

    Returns:
        The object.

    Raises:
        InputError: unknown, not for n neurons, or with slopes outside [0, 1].
    """
    check_size("features", features)
    found = nonlinearity.get(activation)
    found.require_prox()
    if not isinstance(found, nonlinearity.Nonlinearity) and len(found.parts) != features:
        raise InputError(f"this activation has {len(found.parts)} neurons, not {features}.")
    return found
