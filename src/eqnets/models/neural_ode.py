"""Neural ODEs: for measured systems with inputs (`NeuralODE`), and as a layer from state to state (`ODEBlock`).

Both integrate ẋ = f_k(x) over k ≤ t < k + 1, k = 0, 1, …, time being counted in samples. The default is the classical
Runge–Kutta method with a fixed number of equal steps a sample, written out here; its gradient is that of the computed
solution. Every other method is one of torchdiffeq's, by its name there. This file is torchdiffeq's only door.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from eqnets.errors import InputError, NotConverged
from eqnets.models.black_box import BlackBox, uniform, whole
from eqnets.system.lti import LTI

FIXED = ("rk4", "euler", "midpoint", "heun3")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "adaptive_heun")
"""Not fehlberg2: in torchdiffeq 0.2.5 its error stays hundreds of times above the asked tolerance."""

_REACH = 2.5
"""|λ| of a pole, per Runge–Kutta step, that lies well inside the region where the classical method is stable."""

Field = Callable[[int, Tensor], Tensor]
"""f(k, x) = ẋ at state x in the k-th sample."""


def flow(
    f: Field, x: Tensor, samples: int, method: str = "rk4", substeps: int = 1, rtol: float = 1e-6, atol: float = 1e-8
) -> Tensor:
    """Integrate ẋ = f(k, x), k ≤ t < k + 1, from t = 0 to t = samples.

    Args:
        f: the right-hand side; it may jump from sample to sample.
        x: the state at t = 0, of any shape.
        samples: how many intervals of length 1.
        method: one of `FIXED` or `ADAPTIVE`.
        substeps: equal steps an interval, for the fixed ones.
        rtol: relative tolerance, for the adaptive ones.
        atol: absolute tolerance, for the adaptive ones.

    Returns:
        The states at t = 0, 1, …, samples, stacked in front: (samples + 1, …).

    Raises:
        ImportError: the method is torchdiffeq's, which is not installed.
        NotConverged: an adaptive method found no step small enough.
    """  # noqa: DOC502
    if method == "rk4":
        h, states = 1 / substeps, [x]
        for k in range(samples):
            for _ in range(substeps):
                k1 = f(k, x)
                k2 = f(k, x + h / 2 * k1)
                k3 = f(k, x + h / 2 * k2)
                k4 = f(k, x + h * k3)
                x = x + h / 6 * (k1 + 2 * (k2 + k3) + k4)
            states.append(x)
        return torch.stack(states)
    times = torch.arange(samples + 1, dtype=x.dtype, device=x.device)
    if method in FIXED:  # perturb: the stages at both ends of a step lie within it, on its side of the jump
        options: dict[str, Any] = {"step_size": 1 / substeps, "perturb": True}
    else:
        options = {"jump_t": times[1:-1]} if samples > 1 else {}
    try:
        jumping = lambda t, x: f(min(int(t.detach()), samples - 1), x)  # noqa: E731
        return _odeint()(jumping, x, times, method=method, options=options, rtol=rtol, atol=atol)
    except AssertionError as error:
        raise NotConverged(
            f"'{method}' found no step small enough for rtol={rtol:g}, atol={atol:g} ({error}); the right-hand side "
            "grows without bound or is stiff: loosen the tolerances, or use method='rk4'."
        ) from error


def _odeint() -> Callable[..., Any]:
    """The solver of torchdiffeq, imported when it is first needed.

    Raises:
        ImportError: torchdiffeq is not installed.
    """  # noqa: DOC201
    try:
        from torchdiffeq import odeint
    except ModuleNotFoundError as error:
        raise ImportError(
            "methods other than 'rk4' are torchdiffeq's, which is not installed; run: pip install 'eqnets[ode]', or "
            "use method='rk4'."
        ) from error
    return odeint


class _Settled:
    """The options of the integration, checked."""

    def __init__(self, method: str, substeps: int, rtol: float, atol: float) -> None:
        if method not in (*FIXED, *ADAPTIVE):
            raise InputError(f"there is no method '{method}'; choose one of {', '.join((*FIXED, *ADAPTIVE))}.")
        whole("the number of steps", substeps, 1)
        if not (rtol > 0 and atol > 0):
            raise InputError(f"rtol and atol must be positive; got {rtol}, {atol}.")
        self.options: dict[str, Any] = {
            "method": method, "substeps": substeps, "rtol": float(rtol), "atol": float(atol),
        }  # fmt: skip


class NeuralODE(BlackBox):
    """A continuous-time model of a sampled system: y, x_last = ode(u, x0), u held over each sample.

        dt · ẋ = A x + B u + N(x, u),      y = C x + D u + c

    N is a multilayer perceptron with tanh; time is counted in samples, so that nothing depends on how fast the system
    is in seconds. It promises nothing.

    Args:
        nu: number of inputs.
        nx: number of states.
        ny: number of outputs.
        hidden: widths of the hidden layers of N, or one width.
        method: "rk4" (written out), or one of torchdiffeq's by name: the fixed-step "euler", "midpoint", "heun3", the
            adaptive "dopri5", "dopri8", "bosh3", "adaptive_heun".
        substeps: equal steps a sample, for the fixed-step ones.
        rtol: relative tolerance, for the adaptive ones.
        atol: absolute tolerance, for the adaptive ones.
        generator: source of randomness; entries are uniform in ±1/√(number of columns), as in torch.nn.Linear, but A
            begins at −I/10, which forgets over ten samples.
        dtype: of the parameters; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size, a method, a tolerance or dt that cannot be used.
    """

    def __init__(
        self, nu: int, nx: int, ny: int, hidden: int | Sequence[int] = 32, *, method: str = "rk4", substeps: int = 1,
        rtol: float = 1e-6, atol: float = 1e-8, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(nu, nx, ny, dt)
        self.hidden = [hidden] if isinstance(hidden, int) else list(hidden)
        for width in self.hidden or [0]:
            whole("every hidden layer", width, 1)
        self.integration = _Settled(method, substeps, rtol, atol).options
        dtype = torch.get_default_dtype() if dtype is None else dtype
        shapes = {"A": (nx, nx), "B": (nx, nu), "C": (ny, nx), "D": (ny, nu)}
        for i, (rows, columns) in enumerate(zip([*self.hidden, nx], [nx + nu, *self.hidden], strict=True)):
            shapes[f"W{i}"] = (rows, columns)
        for name, shape in shapes.items():
            self.register_parameter(name, uniform(shape, 1 / math.sqrt(max(shape[1], 1)), generator, dtype))
            if name[0] == "W":
                self.register_parameter(f"b{name[1:]}", uniform(shape[:1], 1 / math.sqrt(shape[1]), generator, dtype))
        self.c = nn.Parameter(torch.zeros(ny, dtype=dtype))
        with torch.no_grad():
            self.get_parameter("A").copy_(-0.1 * torch.eye(nx, dtype=dtype))

    @classmethod
    def from_linear(
        cls, lti: LTI, hidden: int | Sequence[int] = 32, *, generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64, **options: Any,
    ) -> Self:  # fmt: skip
        """The network that begins near a given linear system, in its state coordinates: N listens and does not act yet.

        A and B are those of the continuous system that the discrete one samples, dt·A_c = log A. A pole that the
        integrator would not keep stable, or that no continuous system has (a negative one), begins at the nearest
        that it does keep.

        Args:
            lti: the linear system, ρ(A) < 1.
            hidden: widths of the hidden layers of N, or one width.
            generator: source of randomness.
            dtype: of the parameters.
            **options: method, substeps, rtol and atol of the class.

        Returns:
            The network.
        """
        network = cls(lti.nu, lti.nx, lti.ny, hidden, generator=generator, dtype=dtype, dt=lti.dt, **options)
        A = _logarithm(lti.A, _REACH * network.integration["substeps"])
        B = torch.linalg.solve(lti.A - torch.eye(lti.nx, dtype=lti.A.dtype), A @ lti.B)
        last = len(network.hidden)
        silent = {name: 0.0 * network.get_parameter(name).detach() for name in (f"W{last}", f"b{last}")}
        with torch.no_grad():
            for name, value in {"A": A, "B": B, "C": lti.C, "D": lti.D, **silent}.items():
                network.get_parameter(name).copy_(value)
        return network

    def _roll(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        theta = {name: value.to(u.dtype) for name, value in self.named_parameters()}
        nx = self.nx
        # what x and u add to ẋ and to the first layer, in one product; that of u for all samples at once
        of_x = torch.cat([theta["A"], theta["W0"][:, :nx]]).mT
        of_u = torch.cat([theta["B"], theta["W0"][:, nx:]])
        held = u @ of_u.mT + torch.cat([theta["A"].new_zeros(nx), theta["b0"]])
        pieces = held.unbind(1)
        later = [(theta[f"W{i}"].mT, theta[f"b{i}"]) for i in range(1, len(self.hidden) + 1)]

        def f(k: int, x: Tensor) -> Tensor:
            both = torch.addmm(pieces[k], x, of_x)
            z = both[:, nx:]
            for weight, bias in later:
                z = torch.addmm(bias, torch.tanh(z), weight)
            return both[:, :nx] + z

        states = flow(f, x, u.shape[1], **self.integration)
        y = states[:-1].movedim(0, 1) @ theta["C"].mT + u @ theta["D"].mT + theta["c"]
        return y, states[-1]

    def settings(self) -> dict[str, Any]:
        """The arguments with which the class gives a module that takes this one's state_dict; all fit in JSON."""
        sizes = {"nu": self.nu, "nx": self.nx, "ny": self.ny, "hidden": list(self.hidden)}
        return {**sizes, **self.integration, "dt": self.dt}


class ODEBlock(nn.Module):
    """The layer z(0) ↦ z(1) of ż = f(z), for classifiers; with `augment`, in more dimensions than its input has.

        eq.ODEBlock(nn.Sequential(nn.Linear(2 + 3, 32), nn.Tanh(), nn.Linear(32, 2 + 3)), augment=3)

    A flow in the input's own dimensions keeps its topology, so that some classes cannot be told apart; zeros that are
    appended to the features (dimension 1) remove that limit (Dupont, Doucet, Teh 2019, "Augmented neural ODEs").

    Args:
        f: a module, from (batch, features + augment, …) to the same shape.
        augment: how many zeros are appended.
        method: "rk4", or one of torchdiffeq's by name, as for `NeuralODE`.
        steps: equal steps over [0, 1], for the fixed-step ones.
        rtol: relative tolerance, for the adaptive ones.
        atol: absolute tolerance, for the adaptive ones.

    Raises:
        InputError: a number, a method or a tolerance that cannot be used.
    """

    def __init__(
        self, f: nn.Module, augment: int = 0, *, method: str = "rk4", steps: int = 8, rtol: float = 1e-6,
        atol: float = 1e-8,
    ) -> None:  # fmt: skip
        super().__init__()
        whole("augment", augment, 0)
        self.f, self.augment = f, augment
        self.integration = _Settled(method, steps, rtol, atol).options

    def forward(self, z: Tensor) -> Tensor:
        """The state at time 1.

        Args:
            z: (batch, features, …), the state at time 0 without its zeros.

        Returns:
            (batch, features + augment, …).

        Raises:
            InputError: z has no feature dimension, or f returns another shape.
        """
        if z.ndim < 2:
            raise InputError(f"an ODEBlock takes (batch, features, …); got {tuple(z.shape)}.")
        if self.augment:
            z = torch.cat([z, z.new_zeros(z.shape[0], self.augment, *z.shape[2:])], dim=1)

        def f(k: int, z: Tensor) -> Tensor:
            del k
            slope = self.f(z)
            if slope.shape != z.shape:
                raise InputError(
                    f"f maps {tuple(z.shape)} to {tuple(slope.shape)}; the right-hand side of an ODE keeps the shape "
                    f"(features + augment = {z.shape[1]})."
                )
            return slope

        return flow(f, z, 1, **self.integration)[-1]


def _logarithm(A: Tensor, reach: float) -> Tensor:
    """A real matrix near log A, whose eigenvalues have |λ| ≤ reach; A − I where A has no good eigenbasis."""
    values, vectors = torch.linalg.eig(A)
    if float(torch.linalg.cond(vectors)) > 1e8:
        return A - torch.eye(len(A), dtype=A.dtype)
    size = values.abs().clamp_min(1e-12).log()
    angle = torch.where((values.imag == 0) & (values.real < 0), 0.0, values.angle())
    logs = torch.complex(size, angle)
    logs = logs * (reach / logs.abs().clamp_min(reach))
    return torch.linalg.solve(vectors.mT, (vectors * logs).mT).mT.real
