"""The equilibrium network with a prescribed Lipschitz constant, monotone in a weighted norm that it learns too.

z = σ(W z + U x + b), y = G z + c, is well posed where 2Λ − ΛW − WᵀΛ ≻ 0 for some diagonal Λ ≻ 0: strictly more W than
Λ = I allows. Source: Revay, Wang & Manchester, "Lipschitz bounded equilibrium networks", 2020, theorem 1 and eq. 11.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eqnets.equilibrium.adjoint import Adjoint
from eqnets.equilibrium.factored import Factored
from eqnets.equilibrium.solver import Solver
from eqnets.errors import InputError
from eqnets.models.inclusion import PEACEMAN_RACHFORD, check_size, uniform
from eqnets.models.monotone import DenseInclusion, admitted
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import Activation
from eqnets.system.operator import Dense
from eqnets.system.witness import Supply, Witness


class LipschitzDEQ(DenseInclusion):
    """‖y(x) − y(x')‖ ≤ γ ‖x − x'‖ for every parameter value, and exactly one equilibrium for every x.

    W = I − Ψ(GᵀG/2γ + Ψ⁻¹UUᵀΨ⁻¹/2γ + VᵀV + εI + S − Sᵀ) with Ψ = diag(exp ψ) = Λ⁻¹. `forward` gives y, `solve` the
    state z with its status, and a bound in the norm of Λ.

    Args:
        in_features: size of x.
        features: size of z.
        out_features: size of y.
        gamma: γ > 0.
        activation: a name or an object with slopes in [0, 1].
        solver: of the equilibrium.
        eps: ε, positive.
        adjoint: how to differentiate; None: exactly, by the same splitting with the same factor.
        rtol: relative tolerance; None is the default of the dtype.
        atol: absolute tolerance; None is the default of the dtype.
        max_steps: the most steps for a sample.
        on_failure: "warn", "raise" or "ignore", for the backward solve too.
        bias: whether b and c are there.
        generator: source of randomness.
        dtype: of the parameters; None is torch's default.

    Raises:
        InputError: a size, γ, ε, an option, or an activation that is no prox.
    """

    def __init__(
        self, in_features: int, features: int, out_features: int, gamma: float,
        activation: str | Activation = "relu", solver: Solver = PEACEMAN_RACHFORD, *, eps: float = 1e-2,
        adjoint: Adjoint | None = None, rtol: float | None = None, atol: float | None = None, max_steps: int = 1000,
        on_failure: str = "warn", bias: bool = True, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        found = admitted(activation, features)
        super().__init__(found, eps, solver, adjoint, rtol, atol, max_steps, on_failure)
        check_size("in_features", in_features)
        check_size("out_features", out_features)
        if not 0 < float(gamma) < float("inf"):
            raise InputError(f"gamma must be a positive number; got {gamma!r}.")
        self.in_features, self.features, self.out_features = in_features, features, out_features
        self.activation, self.gamma, self.eps = found, float(gamma), float(eps)
        made = {"generator": generator, "dtype": dtype}
        self.V, self.S = (uniform(features, features, fan_in=features, **made) for _ in range(2))
        self.U = uniform(features, in_features, fan_in=in_features, **made)
        self.G = uniform(out_features, features, fan_in=features, **made)
        self.psi = nn.Parameter(torch.zeros(features, dtype=dtype))
        self.b = uniform(features, fan_in=in_features, **made) if bias else None
        self.c = uniform(out_features, fan_in=features, **made) if bias else None

    def _built(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        G, U, V, S, psi = (t if dtype is None else t.to(dtype) for t in (self.G, self.U, self.V, self.S, self.psi))
        Lambda = torch.exp(-psi)
        identity = torch.eye(len(psi), dtype=psi.dtype, device=psi.device)
        LU = Lambda[:, None] * U
        N = (G.mT @ G + LU @ LU.mT) / (2 * self.gamma) + V.mT @ V + self.eps * identity + S - S.mT
        return identity - N / Lambda[:, None], Lambda

    def weights(self) -> tuple[Tensor, Tensor]:
        """W, (n, n), and the diagonal of Λ, (n,), which only measures."""
        W, Lambda = self._built()
        return W, Lambda.detach()

    def operator(self, W: Tensor, Lambda: Tensor) -> Dense:
        """The operator of a matrix."""
        del Lambda
        return Dense(W)

    def factor(self, W: Tensor, Lambda: Tensor) -> Factored:
        """W with its margin in the norm of Λ, where it is that of Λ^½ W Λ^−½."""
        root = Lambda.sqrt()
        geometry = Dense(root[:, None] * W / root)
        return Factored(Dense(W), float(geometry.margin()), geometry)

    def metric(self, W: Tensor, Lambda: Tensor) -> Tensor:
        """Λ."""
        del W
        return Lambda

    def forward(self, x: Tensor, z0: Tensor | None = None) -> Tensor:
        """The output y = G z + c.

        Args:
            x: (batch, in_features).
            z0: where to start; None: zero.

        Returns:
            y, (batch, out_features).

        Raises:
            InputError: a wrong shape or dtype, or an empty batch.
            NotConverged: a sample failed, and on_failure="raise".
        """  # noqa: DOC502
        return nn.functional.linear(self.solve(x, z0).value, self.G, self.c)

    def explicit(self) -> LFR:
        """The network as an LFR without state; float64, differentiable with respect to the parameters."""
        W, _ = self._built(torch.float64)
        U, G = self.U.double(), self.G.double()
        given = {"bv": self.b, "by": self.c}
        biases: dict[str, Any] = {name: t.double() for name, t in given.items() if t is not None}
        return LFR(
            D11=W, D12=U, D21=G, D22=torch.zeros(len(G), U.shape[1]).to(U), activation=self.activation, **biases
        )  # fmt: skip

    @torch.no_grad()
    def witness(self) -> Witness:
        """Λ, which proves the gain γ for `explicit()`: 2Λ − ΛW − WᵀΛ − GᵀG/γ − ΛUUᵀΛ/γ = 2VᵀV + 2εI; float64."""
        _, Lambda = self._built(torch.float64)
        kind = {"dtype": torch.float64, "device": self.U.device}
        (n, k), gamma = (self.out_features, self.in_features), self.gamma
        supply = Supply(-torch.eye(n, **kind) / gamma, torch.zeros(k, n, **kind), gamma * torch.eye(k, **kind))
        return Witness(torch.zeros(0, 0, **kind), Lambda, supply)

    def extra_repr(self) -> str:
        """The options, for print."""
        sizes = f"{self.in_features}, {self.features}, {self.out_features}"
        return f"{sizes}, gamma={self.gamma}, activation={self.activation.name}, {self.solver}"
