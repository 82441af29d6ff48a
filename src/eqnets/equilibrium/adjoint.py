"""How a fixed point is differentiated: an argument, never a default that has to be guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from eqnets.equilibrium.auto import Auto
from eqnets.equilibrium.solver import Solver, check_count, check_number
from eqnets.errors import InputError


@dataclass(frozen=True)
class Adjoint:
    """Base of the adjoints; `exact` says whether the derivatives are those of the equilibrium."""

    exact: ClassVar[bool] = False

    def truncation(self) -> tuple[int, float]:
        """How many evaluations of f at the solution are differentiated, and their damping.

        Returns:
            Steps and damping.

        Raises:
            NotImplementedError: this adjoint is not of that kind.
        """
        raise NotImplementedError(f"{type(self).__name__} differentiates something else.")


@dataclass(frozen=True)
class Implicit(Adjoint):
    """The implicit function theorem: exact derivatives of every order, memory independent of the steps made.

    The adjoint equation u = Jᵀu + g (and in forward mode w = Jw + t) is a fixed point too, and any solver of this room
    solves it. Its failure obeys the policy of the forward solve.

    Args:
        solver: of the adjoint equation.
        rtol: relative tolerance of the adjoint; None: that of the forward solve.
        atol: absolute tolerance of the adjoint, in units of the RMS of each sample's g, so that the gradient does not
            depend on the scale of the loss; None: that of the forward solve.
        max_steps: the most products with Jᵀ; None: as many as the forward solve may make.

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    solver: Solver = Auto()
    rtol: float | None = None
    atol: float | None = None
    max_steps: int | None = None

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.solver, Solver):
            raise InputError(f"Implicit(solver=…) must be a solver such as Auto(); got {self.solver!r}.")
        for name in ("rtol", "atol"):
            if getattr(self, name) is not None:
                check_number(self, name, 0.0, 1e3)
        if self.max_steps is not None:
            check_count(self, "max_steps", 1, 10**9)


@dataclass(frozen=True)
class Unrolled(Adjoint):
    """Differentiate through the iterations that were made: the derivative of the algorithm, not of the equilibrium.

    It tends to the exact derivative as the solve converges, and its memory grows with the steps. Every order. For
    solvers whose steps are differentiable (Picard, Anderson, Broyden, the splittings, and Auto up to its first stage).
    """


@dataclass(frozen=True)
class Phantom(Adjoint):
    """Differentiate through a few damped evaluations of f at the solution: cheap, and not exact.

    z ← (1 − damping) z + damping f(z), `steps` times from the detached solution; the value stays the solution.
    Source: Geng et al., "On training implicit models", NeurIPS 2021, eq. 8.

    Args:
        steps: evaluations to differentiate through.
        damping: in (0, 1].

    Raises:
        InputError: an option out of range.
    """  # noqa: DOC502

    steps: int = 5
    damping: float = 1.0

    def __post_init__(self) -> None:
        check_count(self, "steps", 1, 10**6)
        check_number(self, "damping", 0.0, 1.0, open_low=True)

    def truncation(self) -> tuple[int, float]:
        """The asked steps and damping."""
        return self.steps, self.damping


@dataclass(frozen=True)
class JacobianFree(Adjoint):
    """Differentiate one evaluation of f at the solution, as if (I − Jᵀ)⁻¹ were I: the cheapest, and not exact.

    Source: Fung et al., "JFB: Jacobian-free backpropagation", AAAI 2022.
    """

    def truncation(self) -> tuple[int, float]:
        """One plain evaluation."""
        return 1, 1.0
