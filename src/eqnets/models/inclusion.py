"""What every monotone network shares: z = σ(W z + b(x)), solved by splitting, whatever W and b are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from eqnets.equilibrium.adjoint import Adjoint, Implicit
from eqnets.equilibrium.factored import Factored, Memory
from eqnets.equilibrium.inclusion import Proximal
from eqnets.equilibrium.options import check_options
from eqnets.equilibrium.solution import Solution, Status
from eqnets.equilibrium.solver import Solver
from eqnets.equilibrium.splitting import PeacemanRachford, Splitting
from eqnets.equilibrium.zero import zero
from eqnets.errors import InputError

PEACEMAN_RACHFORD, IMPLICIT = PeacemanRachford(), Implicit()


@dataclass(frozen=True, eq=False)
class MonotoneSolution(Solution):
    """The solution of a monotone network: besides the rest, a guaranteed distance to the true equilibrium.

    Args:
        certify: computes the bound.
    """

    certify: Callable[[], Tensor] = field(repr=False)

    @property
    def bound(self) -> Tensor:
        """‖z − z*‖ ≤ (1 + ‖W‖/m) ‖z − σ(W z + b)‖ per sample, (batch,), float64, rounding included.

        z* is the equilibrium of the weights as they were, in exact arithmetic; m and ‖W‖ are those of the rounded W.
        The norm is the Euclidean one, or for LipschitzDEQ |v|_Λ = √(Σ Λ_i v_i²). Computed when it is asked for: an
        eigenvalue and a singular value problem, per frequency for convolutions. Not under torch.func transforms.

        Source: with ẑ = σ(Wz + b) and r = z − ẑ, monotonicity gives m‖ẑ − z*‖ ≤ ‖W r‖.
        """  # noqa: DOC201
        return self.certify()


class InclusionModel(nn.Module):
    """Base of the monotone networks. A subclass says what W, σ and b(x) are, on flat rows (batch, n).

    Args:
        sigma: σ.
        margin: m.
        solver: of the equilibrium.
        adjoint: how to differentiate; None: exactly, by the same splitting.
        rtol: relative tolerance; None is the default of the dtype.
        atol: absolute tolerance; None is the default of the dtype.
        max_steps: the most steps for a sample.
        on_failure: "warn", "raise" or "ignore".

    Raises:
        InputError: σ is no prox, an option is unknown, or m is not positive.
    """

    def __init__(
        self, sigma: Proximal, margin: float, solver: Solver, adjoint: Adjoint | None, rtol: float | None,
        atol: float | None, max_steps: int, on_failure: str,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < float(margin) < float("inf"):
            raise InputError(f"m must be a positive number; got {margin!r}. Smaller m means more steps.")
        check_options(solver, IMPLICIT if adjoint is None else adjoint, max_steps, on_failure, bare=False)
        self.sigma, self.m = sigma, float(margin)
        self.solver, self.adjoint = solver, adjoint
        self.rtol, self.atol, self.max_steps, self.on_failure = rtol, atol, max_steps, on_failure
        self._memory = Memory()

    def weights(self) -> Sequence[Tensor]:
        """The tensors that W is built from, with their graph; real."""
        raise NotImplementedError

    def operator(self, *weights: Tensor) -> Any:
        """W from its tensors, differentiable."""
        raise NotImplementedError

    def bias(self, x: Tensor) -> Tensor:
        """The rows b(x), (batch, n)."""
        raise NotImplementedError

    def rows(self, z: Any) -> Tensor:
        """A state as rows (batch, n)."""
        raise NotImplementedError

    def state(self, rows: Tensor) -> Any:
        """Rows as a state."""
        raise NotImplementedError

    def factor(self, *weights: Tensor) -> Factored:
        """W with its constants, not yet factorised."""
        return Factored(self.operator(*weights), self.m)

    def metric(self, *weights: Tensor) -> Tensor | None:
        """The diagonal Λ of the norm in which I − W is monotone; None: the identity."""
        del weights
        return None

    def solve(self, x: Tensor, z0: Any = None) -> MonotoneSolution:
        """The equilibrium, what is known about it, and a guaranteed distance to the true one.

        Args:
            x: the input, batch first, in the dtype of the parameters (any under autocast).
            z0: where to start, for example the last solution of a stream; None: zero. Used by value only.

        Returns:
            The solution; its value is the state z.

        Raises:
            InputError: a wrong shape or dtype, or an empty batch.
            NotConverged: a sample failed, and on_failure="raise".
        """  # noqa: DOC502
        parameter = next(self.parameters())
        check_dtype(parameter.dtype)
        with torch.autocast(parameter.device.type, enabled=False):  # the solve keeps the parameters' precision
            if torch.is_tensor(x) and x.is_floating_point() and x.dtype != parameter.dtype:
                x = self._cast(x, parameter)
            bias, weights = self.bias(x), self.weights()
            if not len(bias):
                raise InputError("x has an empty batch: there is no sample to solve for.")
            found = self._zero(bias, weights, None if z0 is None else self._start(z0, bias))
        kept, rows = [t.detach() for t in weights], found.value
        return MonotoneSolution(
            self.state(rows), found.statistics, found.adjoint,
            partial(self._bound, rows.detach(), bias.detach(), kept),
        )  # fmt: skip

    def _start(self, z0: Any, bias: Tensor) -> Tensor:
        rows = self.rows(z0).detach()
        if (rows.shape, rows.dtype, rows.device) != (bias.shape, bias.dtype, bias.device):
            raise InputError(
                f"z0 has {len(rows)} samples in {rows.dtype} on {rows.device}, but x asks for {len(bias)} in "
                f"{bias.dtype} on {bias.device}; start from a state of the same batch, or leave z0 out."
            )
        return rows

    def _cast(self, x: Tensor, parameter: Tensor) -> Tensor:
        if x.dtype in (torch.float16, torch.bfloat16):  # what autocast hands on
            return x.to(parameter.dtype)
        raise InputError(f"x is {x.dtype}, but the parameters are {parameter.dtype}; convert one of them.")

    def _zero(self, bias: Tensor, weights: Sequence[Tensor], z0: Tensor | None) -> Solution:
        run: Any = torch.compiler.disable(zero) if torch.compiler.is_compiling() else zero  # the solve looks at values
        return run(
            self.operator, self.sigma, bias, weights, lambda *plain: self._memory.recall(self.factor, plain), z0=z0,
            solver=self.solver, adjoint=Implicit(solver=self.solver) if self.adjoint is None else self.adjoint,
            rtol=self.rtol, atol=self.atol, max_steps=self.max_steps, on_failure=self.on_failure,
        )  # fmt: skip

    @torch.no_grad()
    def _bound(self, z: Tensor, bias: Tensor, weights: Sequence[Tensor]) -> Tensor:
        weights = [t.double() for t in weights]
        if not all(bool(t.isfinite().all()) for t in weights):
            return torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
        z, bias = z.double(), bias.double()
        factored, Lambda = self.factor(*weights), self.metric(*weights)
        geometry: Any = factored.geometry
        m, norm = geometry.margin(), geometry.norm()
        scale = 1.0 if Lambda is None else Lambda.sqrt()
        sizes = [torch.linalg.vector_norm(scale * t, dim=1) for t in (z, bias)]
        r = scale * (z - self.sigma.value(factored.operator.apply(z) + bias))
        rounding = z.shape[1] * torch.finfo(z.dtype).eps * ((1 + norm) * sizes[0] + sizes[1])
        bound = (1 + norm / m) * (torch.linalg.vector_norm(r, dim=1) + rounding)
        return torch.where(m > 0, bound, torch.inf)

    def forward(self, x: Tensor, z0: Any = None) -> Any:
        """The equilibrium z.

        Args:
            x: the input, batch first.
            z0: where to start; None: zero.

        Returns:
            The state z, as `solve(x).value`.

        Raises:
            InputError: a wrong shape or dtype, or an empty batch.
            NotConverged: a sample failed, and on_failure="raise".
        """  # noqa: DOC502
        return self.solve(x, z0).value

    @torch.no_grad()
    def tune(self, x: Tensor) -> float:
        """Choose the step α by halving and doubling while the steps for a batch fall; kept until it is tuned again.

        The steps are those of both passes. Each trial is a whole solve from zero: α never changes during one. For
        `ForwardBackward` the best α can lie beyond 2m/L², where the theory promises convergence no more; a batch that
        then fails says so, as ever.

        Args:
            x: a typical batch.

        Returns:
            α, now the solver's.

        Raises:
            InputError: the solver is no splitting, or x cannot be used.
        """  # noqa: DOC502
        if not isinstance(self.solver, Splitting):
            raise InputError(f"tune chooses the step of a splitting; the solver is {self.solver!r}.")
        bias, weights, asked = self.bias(x), self.weights(), self.solver
        factored = self._memory.recall(self.factor, weights)
        alpha = asked.size(factored, bias)

        def cost(alpha: float) -> tuple[float, ...]:
            """Samples that fail, what they lack, and the steps of all: what fails less is better, whatever it costs."""
            solver, leaf = replace(asked, alpha=alpha), bias.clone().requires_grad_()
            with torch.enable_grad():
                found = zero(
                    self.operator, self.sigma, leaf, weights, lambda *plain: factored, solver=solver,
                    adjoint=Implicit(solver=solver), rtol=self.rtol, atol=self.atol, max_steps=self.max_steps,
                    on_failure="ignore",
                )  # fmt: skip
                torch.autograd.grad(found.value.sum(), leaf)
            forward, back = found.statistics, found.adjoint.statistics
            assert back is not None
            failed = torch.cat([forward.status, back.status]) != int(Status.CONVERGED)
            residual = torch.cat([forward.residual, back.residual])[failed]
            return float(failed.sum()), float(residual.log().sum()), float(forward.steps.sum() + back.steps.sum())

        least = cost(alpha)
        for ratio in (0.5, 2.0):
            moved = False
            while (found := cost(alpha * ratio)) < least:
                alpha, least, moved = alpha * ratio, found, True
            if moved:
                break
        self.solver = replace(asked, alpha=alpha)
        return alpha


def check_input(x: Any, *sizes: int, name: str = "x") -> None:
    """Refuse an input that is not (batch, *sizes).

    Args:
        x: the input.
        sizes: what follows the batch.
        name: what it is.

    Raises:
        InputError: another type or shape, or no floating dtype.
    """
    if (
        not isinstance(x, Tensor)
        or not x.is_floating_point()
        or tuple(x.shape[1:]) != sizes
        or x.ndim != 1 + len(sizes)
    ):
        got = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise InputError(f"{name} must be a floating tensor (batch, {', '.join(map(str, sizes))}); got {got}.")


def check_size(name: str, value: Any) -> None:
    """Refuse a size that is not a positive integer.

    Args:
        name: what it is.
        value: the size.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} must be a positive integer; got {value!r}.")


def check_dtype(dtype: torch.dtype | None) -> None:
    """Refuse parameters in which nothing can be factorised.

    Args:
        dtype: of the parameters; None is torch's default.

    Raises:
        InputError: it is neither float32 nor float64.
    """
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"the parameters' dtype must be torch.float32 or torch.float64; got {dtype}. Inputs may be half precision, "
            "and so may everything around the network: torch.autocast."
        )


def uniform(*shape: int, fan_in: int, generator: torch.Generator | None, dtype: torch.dtype | None) -> nn.Parameter:
    """A parameter drawn from U(−1/√fan_in, 1/√fan_in), as torch's layers start.

    Args:
        shape: of the parameter.
        fan_in: the number of inputs.
        generator: source of randomness.
        dtype: of the parameter; None is torch's default.

    Returns:
        The parameter.

    Raises:
        InputError: a dtype that is neither float32 nor float64.
    """  # noqa: DOC502
    check_dtype(dtype)
    return nn.Parameter((2 * torch.rand(*shape, generator=generator, dtype=dtype) - 1) / fan_in**0.5)
