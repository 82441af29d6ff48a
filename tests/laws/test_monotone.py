"""The theorems of monotone networks: for every activation, step, splitting and operator, and any parameters."""

from __future__ import annotations

import copy

import pytest
import torch

import eqnets as eq
from eqnets.models.inclusion import InclusionModel

F64 = torch.float64
ACTIVATIONS = [
    "relu", "leaky_relu(0.1)", "tanh", "sigmoid", "softplus", "elu", "elu(0.5)", "hardtanh", "softshrink(0.2)",
    "identity",
]  # fmt: skip
STEPS = {  # forward–backward converges below 2m/L² only: its steps are in units of m/L²
    eq.PeacemanRachford: (None, 0.2, 1.0, 3.0), eq.DouglasRachford: (None, 0.2, 1.0, 3.0),
    eq.ForwardBackward: (None, 0.4, 1.6),
}  # fmt: skip
TIGHT = {"rtol": 1e-12, "atol": 1e-13, "max_steps": 20_000, "on_failure": "raise"}


def dense(**options) -> InclusionModel:
    return eq.MonotoneDEQ(3, 6, m=0.7, **options)


def conv(**options) -> InclusionModel:
    return eq.MonotoneConvDEQ(2, 2, (4, 3), m=0.7, **options)


def padded(**options) -> InclusionModel:
    return eq.MonotoneConvDEQ(2, 2, (4, 3), padding="zeros", m=0.7, **options)


def tiers(**options) -> InclusionModel:
    return eq.MultiTierDEQ(2, (2, 3, 2), (8, 4), m=0.7, **options)


def lipschitz(**options) -> InclusionModel:
    return eq.LipschitzDEQ(3, 6, 2, gamma=0.8, eps=0.3, **options)


KINDS = {"dense": dense, "conv": conv, "zero-padded conv": padded, "multi-tier": tiers, "Lipschitz": lipschitz}
SHAPES = {"dense": (3,), "conv": (2, 4, 3), "zero-padded conv": (2, 4, 3), "multi-tier": (2, 8, 4), "Lipschitz": (3,)}


def make(kind: str, activation: str = "relu", scale: float = 2.0, seed: int = 0, **options) -> InclusionModel:
    """A network with parameters a few times as large as at the start."""
    generator = torch.Generator().manual_seed(seed)
    model = KINDS[kind](activation=activation, generator=generator, dtype=F64, **{**TIGHT, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def data(kind: str, batch: int = 3, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(batch, *SHAPES[kind], generator=generator, dtype=F64)


def flat(state) -> torch.Tensor:
    return state.flatten(1) if torch.is_tensor(state) else torch.cat([tier.flatten(1) for tier in state], dim=1)


def matrix(model: InclusionModel) -> torch.Tensor:
    """W by its action on unit vectors."""
    operator = model.operator(*model.weights())
    n = operator.size
    return operator.apply(torch.eye(n, dtype=F64)).T.detach()


def splittings(model: InclusionModel, kind):
    factored = model.factor(*(w.detach() for w in model.weights()))
    for alpha in STEPS[kind]:
        if kind is eq.ForwardBackward and alpha is not None:
            L = float(torch.linalg.matrix_norm(torch.eye(len(matrix(model))) - matrix_in_geometry(factored), 2))
            alpha = alpha * factored.margin / L**2
        yield kind(alpha)


def matrix_in_geometry(factored) -> torch.Tensor:
    return factored.geometry.apply(torch.eye(factored.geometry.size, dtype=F64)).T


@pytest.mark.parametrize("splitting", list(STEPS), ids=lambda s: s.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_the_equilibrium_is_found_and_its_gradient_is_that_of_a_dense_solve(kind, splitting):
    """Residual of z = σ(Wz + b) below 1e-10 whatever σ and α; gradients by (I − WᵀJ)⁻¹."""
    x = data(kind)
    some = kind == "multi-tier"  # 176 neurons
    for activation in ACTIVATIONS[:8:3] if some else ACTIVATIONS:
        model = make(kind, activation, scale=0.7 if splitting is eq.ForwardBackward else 2.0)
        W, bias = matrix(model), model.bias(x)
        parameters = list(model.parameters())
        generator = torch.Generator().manual_seed(2)
        for solver in splittings(model, splitting):
            model.solver = solver
            solution = model.solve(x)
            z = model.rows(solution.value)
            v = z @ W.T + bias
            assert float((z - model.sigma.value(v)).detach().abs().max()) < 1e-10, (activation, solver)
            g = torch.randn(z.shape, generator=generator, dtype=F64)
            found = torch.autograd.grad(z, parameters, g, allow_unused=True)
            inside = model.rows(model.state(torch.ones_like(z)))  # g does not reach a border
            J = model.sigma.derivative(v.detach())
            identity = torch.eye(len(W), dtype=F64)
            y = torch.linalg.solve(identity - W.T * J[:, None, :], (inside * g)[:, :, None])[:, :, 0]
            f = model.sigma.value(model.operator(*model.weights()).apply(z.detach()) + model.bias(x))
            expected = torch.autograd.grad(f, parameters, y, allow_unused=True)
            for (name, _), one, other in zip(model.named_parameters(), found, expected, strict=True):
                if other is None:
                    assert one is None or not one.any(), name
                else:
                    size = float(other.abs().max()) + 1e-3
                    assert float((one - other).abs().max()) < 1e-8 * size, (activation, solver, name)


@pytest.mark.parametrize("splitting", list(STEPS), ids=lambda s: s.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_of_the_steps_tends_to_that_of_the_equilibrium(kind, splitting):
    """Unrolled: once the solve has converged, so has its derivative, also through a prox that is solved for."""
    x = data(kind, batch=2)
    for activation in ("relu", "elu(0.5)", "tanh"):
        gradients = []
        for adjoint in (eq.Implicit(splitting()), eq.Unrolled()):
            model = make(kind, activation, scale=0.5, solver=splitting(), adjoint=adjoint)
            solution = model.solve(x)
            assert solution.adjoint.exact == isinstance(adjoint, eq.Implicit)
            flat(solution.value).sin().sum().backward()
            gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()])
        for exact, unrolled in zip(*gradients, strict=True):
            assert float((exact - unrolled).abs().max()) < 1e-8 * float(1 + exact.abs().max()), activation


@pytest.mark.parametrize("kind", KINDS)
def test_the_margin_holds_for_every_parameter_value(kind):
    for seed in range(5):
        model = make(kind, scale=10.0 ** (seed - 2), seed=seed)
        weights = [w.detach() for w in model.weights()]
        W, Lambda = matrix(model), model.metric(*weights)
        identity = torch.eye(len(W), dtype=F64)
        if Lambda is not None:
            W = Lambda.sqrt()[:, None] * W / Lambda.sqrt()
        least = float(torch.linalg.eigvalsh(identity - (W + W.T) / 2)[0])
        promised = model.factor(*weights).margin
        assert promised > 0 and least >= promised - 1e-12 * float(torch.linalg.matrix_norm(W, 2))
        if seed == 0:  # A and B are small: the promise is not idle
            assert least <= promised + 1e-2


@pytest.mark.parametrize("splitting", [eq.PeacemanRachford(), eq.DouglasRachford()], ids=["PR", "DR"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_spectral_radius_of_ten_is_no_obstacle(kind, splitting):
    """Plain iteration diverges, and splitting converges."""
    model = make(kind, "relu", solver=splitting)
    skew = [model.B] if isinstance(getattr(model, "B", None), torch.nn.Parameter) else None
    skew = skew or (list(model.B) if hasattr(model, "B") else [model.S if hasattr(model, "S") else model.linear.B])
    with torch.no_grad():
        while float(torch.linalg.eigvals(matrix(model)).abs().max()) < 10:
            for parameter in skew:
                parameter.mul_(1.3)
    x = data(kind)
    W, bias, z = matrix(model), model.bias(x).detach(), torch.zeros_like(model.bias(x))
    for _ in range(60):
        z = model.sigma.value(z @ W.T + bias).detach()
    assert not float((model.sigma.value(z @ W.T + bias) - z).abs().max()) < 1e-3
    rows = model.rows(model.solve(x).value).detach()
    assert float((rows - model.sigma.value(rows @ W.T + bias)).abs().max()) < 1e-10 * float(1 + rows.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_holds_and_is_not_idle(kind):
    """‖z − z*‖ ≤ bound at every accuracy of the solve, from rough to rounding, per sample."""
    for activation in ("relu", "tanh", "softplus"):
        model = make(kind, activation)
        x = data(kind, batch=8)
        truth = model.rows(model.solve(x).value).detach()
        weights = [w.detach() for w in model.weights()]
        Lambda = model.metric(*weights)
        scale = 1.0 if Lambda is None else Lambda.sqrt()
        for tolerance in (1e-1, 1e-3, 1e-6, 1e-10):
            rough = copy.deepcopy(model)
            rough.rtol, rough.atol = tolerance, tolerance
            solution = rough.solve(x)
            error = torch.linalg.vector_norm(scale * (rough.rows(solution.value).detach() - truth), dim=1)
            bound = solution.bound
            assert bound.shape == (8,) and bound.dtype == F64
            assert bool((error <= bound + 1e-10).all())
            assert float(bound.max()) < 1e3 * tolerance * float(1 + truth.abs().max()) * truth.shape[1]


@pytest.mark.parametrize("splitting", [eq.PeacemanRachford(), eq.DouglasRachford(0.5)], ids=["PR", "DR"])
@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_exact_to_second_order(kind, splitting):
    """Reverse over reverse, with respect to the input and every parameter."""
    model = make(kind, "softplus", scale=1.0, solver=splitting, rtol=1e-13, atol=1e-14, on_failure="ignore")
    names, values = zip(*model.named_parameters(), strict=True)
    generator = torch.Generator().manual_seed(3)
    probe = torch.randn(flat(model(data(kind, batch=1))).shape, generator=generator, dtype=F64)
    directions = [torch.randn(v.shape, generator=generator, dtype=F64) for v in values]

    def along(x, t):  # the parameters along one direction: the check stays small
        moved = {n: v.detach() + t * d for n, v, d in zip(names, values, directions, strict=True)}
        state = torch.func.functional_call(model, moved, (x,))
        return (flat(state) * probe).sum()[None] if state is not None else None

    x, t = data(kind, batch=1).requires_grad_(), torch.zeros((), dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(along, (x, t), fast_mode=kind not in ("dense", "Lipschitz"))
    assert torch.autograd.gradgradcheck(along, (x, t), fast_mode=kind != "dense")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own decompositions for forward mode
@pytest.mark.parametrize("kind", KINDS)
def test_every_transform_agrees(kind):
    """torch.func: jacrev, jacfwd, jvp and vmap over inputs and over parameters, against plain autograd."""
    model = make(kind, "tanh", scale=1.0)
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    x = data(kind, batch=1)
    out = lambda p, x: flat(torch.func.functional_call(model, p, (x,)))[0, :4]  # noqa: E731
    by_rows = torch.func.jacrev(out, argnums=(0, 1))(parameters, x)
    by_columns = torch.func.jacfwd(out, argnums=1)(parameters, x)
    torch.testing.assert_close(by_rows[1], by_columns, rtol=0, atol=1e-9)
    leaf = x.clone().requires_grad_()
    plain = torch.autograd.grad(flat(model(leaf))[0, 1], [leaf, *model.parameters()], allow_unused=True)
    torch.testing.assert_close(by_rows[1][1], plain[0], rtol=0, atol=1e-9)
    for name, grad in zip(parameters, plain[1:], strict=True):
        if grad is not None:
            torch.testing.assert_close(by_rows[0][name][1], grad, rtol=0, atol=1e-9, msg=name)
    direction = torch.ones_like(x)
    _, tangent = torch.func.jvp(lambda x: out(parameters, x), (x,), (direction,))
    torch.testing.assert_close(tangent, (by_columns * direction).flatten(1).sum(1), rtol=0, atol=1e-9)
    along = lambda x: torch.func.jvp(lambda x: out(parameters, x)[1], (x,), (direction,))[1]  # noqa: E731
    curvature = torch.func.jvp(along, (x,), (direction,))[1]
    (slope,) = torch.autograd.grad(flat(model(leaf))[0, 1], leaf, create_graph=True)
    (bend,) = torch.autograd.grad((slope * direction).sum(), leaf)
    torch.testing.assert_close(curvature, (bend * direction).sum(), rtol=0, atol=1e-8)
    several = {name: torch.stack([value, 0.5 * value]) for name, value in parameters.items()}
    inputs = torch.stack([x, -x])
    mapped = torch.func.vmap(out)(several, inputs)
    mapped_gradient = torch.func.vmap(torch.func.grad(lambda p, x: out(p, x).sum()))(several, inputs)
    for i in range(2):
        one = {name: value[i] for name, value in several.items()}
        torch.testing.assert_close(mapped[i], out(one, inputs[i]), rtol=0, atol=1e-10)
        single = torch.func.grad(lambda p, x: out(p, x).sum())(one, inputs[i])
        for name, grad in single.items():
            torch.testing.assert_close(mapped_gradient[name][i], grad, rtol=0, atol=1e-9, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_depend_on_its_neighbours(kind):
    model = make(kind, "tanh")
    x = data(kind, batch=5)
    x[0] *= 1e-3
    together = model.solve(x)
    for i in range(5):
        alone = model.solve(x[i : i + 1])
        torch.testing.assert_close(flat(alone.value)[0], flat(together.value)[i], rtol=0, atol=1e-12)
        assert abs(int(alone.steps[0]) - int(together.steps[i])) <= 1
