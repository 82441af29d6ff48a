"""What a splitting sees: 0 ∈ (I − W) z − b + ∂f(z), that is z = σ(W z + b) with σ = prox_f, and its derivatives.

An operator has apply, adjoint and resolvent; a σ has value, derivative and prox with step α. The tangent equation
w = JW w + t and the adjoint y = WᵀJ y + g, J = diag σ'(Wz + b), are inclusions again: with s = JWw or s = Jy they read
s = J(W s + W t) and s = J(Wᵀ s + g), where the prox with step α of the linear map J is x ↦ J x/(J + α(1 − J)). So one
algorithm, with one factor, solves all three. Source: Winston & Kolter, "Monotone operator equilibrium networks",
NeurIPS 2020, theorem 2; the division-free prox of J is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from eqnets.equilibrium.factored import Factored
from eqnets.equilibrium.maps import Map


class Proximal(Protocol):
    """An elementwise σ with slopes in [0, 1]."""

    def value(self, v: Tensor, /) -> Tensor:
        """σ(v)."""
        ...

    def derivative(self, v: Tensor, /) -> Tensor:
        """σ'(v)."""
        ...

    def prox(self, x: Tensor, alpha: float, /) -> Tensor:
        """σ(y) for the y with α y + (1 − α) σ(y) = x."""
        ...


class Diagonal:
    """The linear σ(v) = J v.

    Args:
        J: (batch, n), in [0, 1].
    """

    def __init__(self, J: Tensor) -> None:
        self.J = J
        self._kept: tuple[tuple[float, bool], Tensor] | None = None

    @cached_property
    def complement(self) -> Tensor:
        """1 − J."""
        return 1 - self.J

    def value(self, v: Tensor) -> Tensor:
        """J v."""
        return self.J * v

    def derivative(self, v: Tensor) -> Tensor:
        """J."""
        del v
        return self.J

    def prox(self, x: Tensor, alpha: float) -> Tensor:
        """J x/(J + α(1 − J)), without a division by J."""
        return self._factor(alpha, reflected=False) * x

    def reflect(self, x: Tensor, alpha: float) -> Tensor:
        """2 prox(x) − x, by one factor too."""
        return self._factor(alpha, reflected=True) * x

    def _factor(self, alpha: float, reflected: bool) -> Tensor:
        key = alpha, reflected
        if self._kept is None or self._kept[0] != key:
            factor = self.J / torch.add(self.J, self.complement, alpha=alpha)
            self._kept = key, 2 * factor - 1 if reflected else factor
        return self._kept[1]

    def take(self, rows: Tensor) -> Diagonal:
        """The same for some of the samples."""
        return Diagonal(self.J.index_select(0, rows))


class Inclusion(Map):
    """z = σ(W z + b).

    A splitting knows the value σ(Wz + b) at its iterate z. It shows the loop the pair the other way round, the value as
    the argument and, in `known`, z as what comes of it: the evaluation costs nothing, the residual is that of z, and z
    is what the loop returns. (σ(Wz + b) would have a residual up to ‖W‖ times as large.)

    Args:
        factored: W.
        sigma: σ.
        bias: b, (batch, n).
        transposed: whether Wᵀ stands in place of W.
    """

    def __init__(self, factored: Factored, sigma: Proximal, bias: Tensor, transposed: bool = False) -> None:
        super().__init__(lambda z: self.sigma.value(self.argument(z)), (), ())
        self.factored, self.sigma, self.bias, self.transposed = factored, sigma, bias, transposed
        self._argument: tuple[Tensor, Tensor] | None = None
        operator = factored.operator
        self.product: Callable[[Tensor], Tensor] = operator.adjoint if transposed else operator.apply
        self.known: tuple[Tensor, Tensor] | None = None

    def argument(self, s: Tensor) -> Tensor:
        """The argument W s + b of σ; the last one is remembered, and the first one costs no product where s is zero."""
        if self._argument is None or self._argument[0] is not s:
            cold = self._argument is None and not bool(s.any())
            self._argument = s, self.bias if cold else self.product(s) + self.bias
        return self._argument[1]

    def reflect(self, u: Tensor, alpha: float) -> Tensor:
        """The reflection 2 prox(u) − u."""
        kink = getattr(self.sigma, "kink", None)
        if kink is not None:  # u above zero and (2 p − 1) u below it, p the slope of the prox: |u| for relu
            return torch.nn.functional.leaky_relu(u, 2 * kink / (alpha + (1 - alpha) * kink) - 1)
        found = self.sigma.prox(u, alpha)
        # without a graph the result goes where the prox stood: fresh memory costs more than the sum itself
        return torch.lerp(u, found, 2.0, out=None if torch.is_grad_enabled() or found is u else found)

    def __call__(self, z: Tensor) -> Tensor:
        """The value σ(W z + b), from `known` where a splitting left it."""
        if self.known is not None and self.known[0] is z:
            return self.known[1]
        return self.evaluate(z)

    def evaluate(self, z: Tensor) -> Tensor:
        """The right-hand side at z."""
        return self.sigma.value(self.argument(z))

    def enter(self, z: Tensor) -> Tensor:
        """The s that belongs to an iterate z."""
        return z

    def show(self, s: Tensor, v: Tensor) -> Tensor:
        """The value at the iterate that belongs to s, which is noted in `known`.

        Args:
            s: (batch, n).
            v: W s + b, however it was found.

        Returns:
            (batch, n).
        """
        value = self.sigma.value(v)
        self.known = value, s
        return value

    def resolvent(self, alpha: float) -> Callable[[Tensor], Tensor]:
        """The product with V, or with Vᵀ where this is a transposed equation."""
        found = self.factored.resolvent(alpha)
        return found.adjoint if self.transposed else found.apply

    @property
    def can_take(self) -> bool:
        """Whether `take` is possible."""
        return self.factored.takes

    def take(self, rows: Tensor) -> Inclusion:
        """The same inclusion for some of the samples."""
        return Inclusion(self.factored, self.sigma, self.bias.index_select(0, rows), self.transposed)

    def slope(self, z: Tensor) -> Diagonal:
        """J = diag σ'(W z + b) at a solution z."""
        return Diagonal(self.sigma.derivative(self.argument(z)))


class Tangent(Inclusion):
    """w = J W w + t, with s = w − t.

    Args:
        factored: W.
        sigma: J.
        t: (batch, n).
    """

    sigma: Diagonal

    def __init__(self, factored: Factored, sigma: Diagonal, t: Tensor) -> None:
        super().__init__(factored, sigma, factored.operator.apply(t))
        self.t = t

    def evaluate(self, z: Tensor) -> Tensor:
        """J W w + t."""
        return self.sigma.value(self.product(z)) + self.t

    def reflect(self, u: Tensor, alpha: float) -> Tensor:
        """The reflection 2 prox(u) − u."""
        return self.sigma.reflect(u, alpha)

    def enter(self, z: Tensor) -> Tensor:
        """The inner variable s = w − t."""
        return z - self.t

    def show(self, s: Tensor, v: Tensor) -> Tensor:
        """The value J v + t at the iterate w = s + t."""
        value = self.sigma.value(v) + self.t
        self.known = value, s + self.t
        return value

    def take(self, rows: Tensor) -> Tangent:
        """The same equation for some of the samples."""
        return Tangent(self.factored, self.sigma.take(rows), self.t.index_select(0, rows))


class Cotangent(Inclusion):
    """y = Wᵀ J y + g, with s = J y. Its residual is that of s, J(Wᵀs + g) − s, because WᵀJ y costs a product more.

    Args:
        factored: W.
        sigma: J.
        g: (batch, n).
    """

    sigma: Diagonal

    def __init__(self, factored: Factored, sigma: Diagonal, g: Tensor) -> None:
        super().__init__(factored, sigma, g, transposed=True)
        self._entered: tuple[Tensor, Tensor] | None = None

    def evaluate(self, z: Tensor) -> Tensor:
        """Wᵀ J y + g."""
        return self.argument(self.enter(z))

    def reflect(self, u: Tensor, alpha: float) -> Tensor:
        """The reflection 2 prox(u) − u."""
        return self.sigma.reflect(u, alpha)

    def enter(self, z: Tensor) -> Tensor:
        """The inner variable s = J y; the last one is remembered."""
        if self._entered is None or self._entered[0] is not z:
            self._entered = z, self.sigma.value(z)
        return self._entered[1]

    def show(self, s: Tensor, v: Tensor) -> Tensor:
        """The pair of v = Wᵀs + g and y = s + (1 − J) v, which differ by the residual of s."""
        self.known = v, torch.addcmul(s, self.sigma.complement, v)
        return v

    def take(self, rows: Tensor) -> Cotangent:
        """The same equation for some of the samples."""
        return Cotangent(self.factored, self.sigma.take(rows), self.bias.index_select(0, rows))
