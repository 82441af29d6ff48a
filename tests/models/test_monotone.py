"""Monotone networks as modules: what they promise, what they refuse, and weights that are never stale."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import conv2d, pad

import eqnets as eq

F64 = torch.float64
NOT_CONVERGED = "ignore::eqnets.errors.NotConvergedWarning"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dense(seed: int = 0, **options) -> eq.MonotoneDEQ:
    options = {"activation": "tanh", "dtype": F64, "rtol": 1e-11, "atol": 1e-12, **options}
    return eq.MonotoneDEQ(4, 6, generator=generator(seed), **options)


def inputs(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def residual(model: eq.MonotoneDEQ, x: torch.Tensor) -> float:
    W, z = model.linear.weight(), model(x)
    sigma = model.activation
    return float((z - sigma(z @ W.mT + x @ model.U.mT + model.b)).detach().abs().max())


# ---- weights are never stale ---------------------------------------------------------------------------------------
def through_data(model):
    model.linear.A.data.mul_(1.7)


def in_place(model):
    with torch.no_grad():
        model.linear.B.mul_(1.3)


def by_optimiser(model):
    model(inputs(3, 4)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.5).step()


def by_loading(model):
    model.load_state_dict(dense(seed=9).state_dict())


def by_precision(model):
    model.float().double()


UPDATES = [through_data, in_place, by_optimiser, by_loading, by_precision]


@pytest.mark.parametrize("update", UPDATES, ids=lambda u: u.__name__)
def test_no_update_of_the_weights_escapes_the_cached_factor(update):
    model, x = dense(), inputs(3, 4)
    assert residual(model, x) < 1e-10
    update(model)
    assert residual(model, x) < 1e-10
    fresh = dense()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(x), fresh(x), rtol=0, atol=1e-10)


def test_a_copy_lives_its_own_life():
    model, x = dense(), inputs(3, 4)
    model(x)
    other = copy.deepcopy(model)
    in_place(other)
    assert residual(model, x) < 1e-10 and residual(other, x) < 1e-10
    assert float((model(x) - other(x)).detach().abs().max()) > 1e-3


def test_one_factorisation_serves_forward_and_backward_of_one_weight(monkeypatch):
    calls = []
    from_dense = eq.system.operator.Dense.resolvent
    monkeypatch.setattr(
        eq.system.operator.Dense, "resolvent", lambda self, alpha: calls.append(alpha) or from_dense(self, alpha)
    )
    model, x = dense(), inputs(3, 4)
    for _ in range(3):
        x = x.clone().requires_grad_()
        (g,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        g.square().sum().backward()
    assert len(calls) == 1


# ---- promises ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu(0.2)"])
def test_the_explicit_system_is_the_network(activation):
    model, x = dense(activation=activation), inputs(5, 4)
    lfr = model.explicit()
    z = model(x)
    torch.testing.assert_close(z, lfr.activation(z @ lfr.D11.mT + x @ lfr.D12.mT + lfr.bv), rtol=0, atol=1e-10)
    y, _ = eq.simulate(lfr, x[:, None])
    torch.testing.assert_close(y[:, 0], z, rtol=0, atol=1e-9)
    bounded = eq.LipschitzDEQ(4, 6, 3, gamma=0.5, activation=activation, generator=generator(), dtype=F64)
    y, _ = eq.simulate(bounded.explicit(), x[:, None])
    torch.testing.assert_close(y[:, 0], bounded(x), rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_witness_proves_the_gain(scale):
    """The inequality [2Λ − ΛW − WᵀΛ − CᵀC/γ, −ΛU; −UᵀΛ, γI] ≽ 0, written out here."""
    for seed in range(5):
        networks = [dense(seed, m=0.3), eq.LipschitzDEQ(4, 6, 3, 0.7, generator=generator(seed), dtype=F64)]
        for model in networks:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(scale)
            lfr, witness = model.explicit().detach(), model.witness()
            gamma, L = float(witness.supply.R[0, 0]), torch.diag(witness.Lambda)
            M = torch.cat([
                torch.cat([2 * L - L @ lfr.D11 - lfr.D11.T @ L - lfr.D21.T @ lfr.D21 / gamma, -L @ lfr.D12], 1),
                torch.cat([-(L @ lfr.D12).T, gamma * torch.eye(4, dtype=F64)], 1),
            ])  # fmt: skip
            d = torch.diagonal(M).rsqrt()
            assert float(torch.linalg.eigvalsh(d[:, None] * M * d)[0]) > 0
            promised = model.lipschitz() if isinstance(model, eq.MonotoneDEQ) else model.gamma
            assert gamma == pytest.approx(promised, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 4.0])
def test_no_attack_beats_gamma_and_one_comes_near(gamma):
    best = 0.0
    for seed in range(2):
        model = eq.LipschitzDEQ(
            3, 8, 3, gamma, "tanh", eps=1e-3, rtol=1e-8, atol=1e-9, generator=generator(seed), dtype=F64
        )
        with torch.no_grad():
            model.G.mul_(2)
            model.U.mul_(2)
            model.V.mul_(0.1)
            model.b.zero_()
        pair = (1e-2 * inputs(2, 16, 3, seed=seed)).requires_grad_()
        optimiser = torch.optim.Adam([pair], lr=5e-3)
        for _ in range(40):
            dy = (model(pair[0]) - model(pair[1])).norm(dim=1)
            slope = dy / (pair[0] - pair[1]).norm(dim=1)
            best = max(best, float(slope.detach().max()))
            optimiser.zero_grad()
            (-slope.log().sum()).backward()
            optimiser.step()
    assert 0.8 * gamma < best <= gamma * (1 + 1e-6)


def test_a_weighted_norm_allows_what_the_euclidean_does_not():
    """W of a LipschitzDEQ with sym(I − W) indefinite, and yet well posed: its equilibrium is found."""
    model = eq.LipschitzDEQ(3, 8, 2, 1.0, "tanh", generator=generator(), dtype=F64, rtol=1e-11, atol=1e-12)
    with torch.no_grad():
        model.psi.copy_(2 * inputs(8, seed=3))
        model.S.mul_(6)
    W = model.explicit().D11.detach()
    assert float(torch.linalg.eigvalsh(torch.eye(8, dtype=F64) - (W + W.T) / 2)[0]) < -0.1
    solution = model.solve(inputs(6, 3))
    assert bool(solution.converged.all()) and bool((solution.bound < 1e-6).all())


def test_the_certificate_of_the_room_next_door_agrees():
    lfr, witness = dense().explicit().detach(), dense().witness()
    assert eq.certify(eq.WellPosed(), lfr, witness).claim == eq.WellPosed()
    gamma = float(witness.supply.R[0, 0])
    eq.certify(eq.Lipschitz(gamma * 1.001), lfr, witness)
    bounded = eq.LipschitzDEQ(4, 6, 3, gamma=0.5, generator=generator(), dtype=F64)
    eq.certify(eq.Lipschitz(0.5), bounded.explicit().detach(), bounded.witness())
    network = dense(m=0.3)
    eq.certify(eq.Monotone(0.3 - 1e-9), network.explicit().detach(), network.witness())
    margin = float(network.operator(*network.weights()).margin().detach())
    with pytest.raises(eq.NotCertified):
        eq.certify(eq.Monotone(margin + 1e-3), network.explicit().detach(), network.witness())


# ---- convolutions --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_zero_padding_is_that_of_an_unbounded_plane(kernel_size):
    """W on the padded torus against AᵀA and B by conv2d on a plane that is large enough."""
    model = eq.MonotoneConvDEQ(
        2, 3, (5, 4), kernel_size, padding="zeros", generator=generator(), dtype=F64, rtol=1e-11, atol=1e-12
    )
    z, k = model(inputs(2, 2, 5, 4)).detach(), kernel_size - 1
    r = kernel_size // 2
    wide = pad(z, (k,) * 4)
    transposed = lambda K: K.transpose(0, 1).flip(2, 3)  # noqa: E731
    Az = conv2d(wide, model.A, padding=r)
    Wz = -conv2d(Az, transposed(model.A), padding=r) + conv2d(wide, model.B - transposed(model.B), padding=r)
    inside = Wz[:, :, k:-k, k:-k]
    injected = conv2d(inputs(2, 2, 5, 4), model.U, model.b, padding=r)
    torch.testing.assert_close(z, torch.relu(inside + injected).detach(), rtol=0, atol=1e-10)


def test_circular_padding_commutes_with_shifts():
    model = eq.MonotoneConvDEQ(
        1, 3, (6, 5), activation="tanh", generator=generator(), dtype=F64, rtol=1e-11, atol=1e-12
    )
    x = inputs(1, 1, 6, 5)
    moved = model(x.roll((2, 1), (2, 3)))
    torch.testing.assert_close(moved, model(x).roll((2, 1), (2, 3)), rtol=0, atol=1e-9)


def test_tiers_have_their_shapes_and_start_where_they_are_told():
    model = eq.MultiTierDEQ(1, (2, 3, 4), (8, 12), generator=generator(), dtype=F64)
    solution = model.solve(inputs(2, 1, 8, 12))
    assert [tuple(t.shape) for t in solution.value] == [(2, 2, 8, 12), (2, 3, 4, 6), (2, 4, 2, 3)]
    again = model.solve(inputs(2, 1, 8, 12), z0=solution.value)
    assert int(again.steps.max()) < 0.3 * int(solution.steps.max())
    with pytest.raises(eq.InputError, match="tuple of 3"):
        model.solve(inputs(2, 1, 8, 12), z0=solution.value[0])
    with pytest.raises(eq.InputError, match="z0 has 2 samples"):
        model.solve(inputs(3, 1, 8, 12), z0=solution.value)


@pytest.mark.parametrize(
    ("z0", "words"),
    [
        (inputs(2, 6), "z0 has 2 samples .* asks for 3"),
        (inputs(4, 6), "z0 has 4 samples .* asks for 3"),
        (inputs(3, 6).float(), "in torch.float32 on cpu, but .* in torch.float64"),
        (inputs(3, 5), r"z0 must be a floating tensor \(batch, 6\)"),
        (inputs(3, 6).to("meta"), "on meta"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_before_any_of_it_is_read(z0, words):
    with pytest.raises(eq.InputError, match=words):
        dense().solve(inputs(3, 4), z0)


def test_parameters_are_float32_or_float64():
    for kind in (torch.float16, torch.bfloat16, torch.complex64, torch.int64):
        with pytest.raises(eq.InputError, match="float32 or torch.float64"):
            dense(dtype=kind)
    for half in (dense().half(), dense().bfloat16()):
        with pytest.raises(eq.InputError, match="float32 or torch.float64"):
            half(inputs(3, 4).half())


# ---- manners -------------------------------------------------------------------------------------------------------
def test_a_warm_start_costs_less_and_finds_the_same():
    model, x = dense(), inputs(6, 4)
    first = model.solve(x)
    again = model.solve(x + 1e-6, z0=first.value)
    assert int(again.steps.max()) < int(first.steps.max())
    torch.testing.assert_close(again.value, model(x + 1e-6), rtol=0, atol=1e-9)


def test_tuning_never_makes_it_slower_and_stays_until_the_next():
    model, x = dense(m=0.05), inputs(16, 4)
    before = int(model.solve(x).steps.sum())
    alpha = model.tune(x)
    assert model.solver == eq.PeacemanRachford(alpha)
    assert int(model.solve(x).steps.sum()) <= before
    with pytest.raises(eq.InputError, match="splitting"):
        dense(solver=eq.Anderson()).tune(x)


def test_tuning_finds_a_step_where_the_safe_one_is_too_slow():
    """Forward–backward at a large L/m: the step of the theory does not arrive, the tuned one does, forward and back."""
    model, x = dense(activation="relu", solver=eq.ForwardBackward(), max_steps=800, on_failure="ignore"), inputs(8, 4)
    with torch.no_grad():
        model.linear.A.mul_(9.0)
        model.linear.B.mul_(9.0)
    assert not model.solve(x).converged.all()
    model.tune(x)
    solution = model.solve(x)
    solution.value.square().sum().backward()
    assert bool(solution.converged.all()) and bool(solution.adjoint.converged.all())
    found, model.solver = model.U.grad.clone(), eq.PeacemanRachford()
    model.zero_grad()
    exact = model(x)
    exact.square().sum().backward()
    torch.testing.assert_close(solution.value, exact, rtol=0, atol=1e-8)
    torch.testing.assert_close(found, model.U.grad, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    "adjoint", [None, eq.Implicit(), eq.Implicit(solver=eq.Newton())], ids=["same", "auto", "newton"]
)
@pytest.mark.parametrize("solver", [eq.PeacemanRachford(), eq.Auto(), eq.Newton(), eq.Anderson()], ids=str)
def test_any_solver_may_find_it_and_any_may_differentiate_it(solver, adjoint):
    model, x = dense(solver=solver, adjoint=adjoint), inputs(3, 4).requires_grad_()
    reference = dense()
    torch.testing.assert_close(model(x), reference(x), rtol=0, atol=1e-9)
    (one,), (other,) = (torch.autograd.grad(m(x).sin().sum(), x) for m in (model, reference))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-8)


def test_approximate_adjoints_are_named():
    x = inputs(3, 4)
    reference = dense()
    reference(x).sum().backward()
    for adjoint, low, high in ((eq.Phantom(200, damping=0.4), 0.0, 1e-6), (eq.JacobianFree(), 1e-3, 10.0)):
        model = dense(adjoint=adjoint, seed=0)
        solution = model.solve(x)
        assert not solution.adjoint.exact and solution.adjoint.name == type(adjoint).__name__
        solution.value.sum().backward()
        assert low <= float((model.U.grad - reference.U.grad).abs().max()) <= high


def test_unrolling_has_derivatives_of_second_order_and_is_refused_under_transforms():
    x = inputs(3, 4).requires_grad_()
    found = []
    for adjoint in (None, eq.Unrolled()):
        model = dense(adjoint=adjoint)  # tanh: its prox is solved for
        (g,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(g.square().sum(), [x, *model.parameters()]))
    for exact, unrolled in zip(*found, strict=True):
        torch.testing.assert_close(unrolled, exact, rtol=0, atol=1e-7)
    torch.testing.assert_close(dense(adjoint=eq.Unrolled())(x), dense()(x), rtol=0, atol=1e-14)  # V is another inverse
    with pytest.raises(eq.InputError, match="torch.func"):
        torch.func.grad(lambda x: dense(adjoint=eq.Unrolled())(x).sum())(x.detach())


def test_the_backward_solve_is_reported():
    model, x = dense(), inputs(3, 4)
    solution = model.solve(x)
    assert solution.adjoint.statistics is None
    solution.value.square().sum().backward()
    assert bool(solution.adjoint.converged.all()) and solution.adjoint.steps.shape == (3,)


def test_failure_is_loud():
    x = inputs(3, 4)
    with pytest.warns(eq.NotConvergedWarning, match="3 of 3"):
        dense(max_steps=3)(x)
    with pytest.raises(eq.NotConverged) as caught:
        dense(max_steps=3, on_failure="raise")(x)
    assert caught.value.status.shape == (3,)
    assert not dense(max_steps=3, on_failure="ignore").solve(x).converged.any()


@pytest.mark.filterwarnings(NOT_CONVERGED)
def test_nan_in_one_sample_stays_there():
    model, x = dense(), inputs(4, 4)
    good = model(x).detach()
    x[2, 1] = torch.nan
    solution = model.solve(x)
    assert solution.status.tolist() == [0, 0, int(eq.Status.NONFINITE), 0]
    keep = [0, 1, 3]
    torch.testing.assert_close(solution.value[keep], good[keep], rtol=0, atol=1e-11)


@pytest.mark.filterwarnings(NOT_CONVERGED)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e200])
@pytest.mark.parametrize("kind", ["dense", "Lipschitz"])
def test_weights_that_are_not_finite_have_no_equilibrium(kind, value):
    """The inverse of infinity is a finite zero: a splitting alone would call its fixed point an equilibrium."""
    model = dense() if kind == "dense" else eq.LipschitzDEQ(4, 6, 2, gamma=1.0, generator=generator(), dtype=F64)
    with torch.no_grad():
        (model.linear.A if kind == "dense" else model.V)[0, 0] = value  # the square of 1e200 overflows
    solution = model.solve(inputs(3, 4))
    assert solution.status.tolist() == [int(eq.Status.NONFINITE)] * 3
    assert bool((solution.bound == torch.inf).all())


def test_gradients_are_there_in_eval_mode_and_twice():
    model, x = dense().eval(), inputs(3, 4)
    loss = model(x).square().sum()
    loss.backward(retain_graph=True)
    first = model.U.grad.clone()
    model.U.grad = None
    loss.backward()
    torch.testing.assert_close(model.U.grad, first, rtol=0, atol=0)


@pytest.mark.parametrize("solver", [eq.PeacemanRachford(), eq.ForwardBackward(0.1)], ids=["PR", "FB"])
def test_memory_does_not_grow_with_the_steps(solver):
    def saved(most: int) -> int:
        held = []
        model = dense(solver=solver, max_steps=most, on_failure="ignore")
        with torch.autograd.graph.saved_tensors_hooks(lambda t: held.append(t.nbytes) or t, lambda t: t):
            steps = int(model.solve(inputs(3, 4)).steps.max())
        assert steps >= min(most, 20)
        return sum(held)

    assert saved(5) == saved(500)


def test_finished_samples_drop_out():
    """One hard sample of many: the operator sees few rows once the easy ones are done."""
    model, x = dense(activation="relu", m=0.05), torch.zeros(32, 4, dtype=F64)
    x[7] = 100 * inputs(4)
    with torch.no_grad():
        model.b.fill_(-1.0)  # from zero, the easy samples are at rest already
    seen = []
    operator = model.operator(*model.weights())
    plain = type(operator).apply
    try:
        type(operator).apply = lambda self, z: seen.append(len(z)) or plain(self, z)
        solution = model.solve(x)
    finally:
        type(operator).apply = plain
    assert bool(solution.converged.all()) and int(solution.steps.max()) > 10
    assert sum(seen) < 6 * 32 + 3 * int(solution.steps.max())


MODEL = """
make = lambda seed: torch.Generator().manual_seed(seed)
x = torch.randn(6, 4, generator=make(1), dtype=torch.float64)
model = eq.MonotoneDEQ(4, 6, activation="tanh", generator=make(0), dtype=torch.float64, rtol=1e-12, atol=1e-13)
"""


def test_two_processes_have_the_gradient_of_one(gradients_in_processes):
    alone, *shared = gradients_in_processes(MODEL)
    for gradients in shared:
        for name, grad in alone.items():
            torch.testing.assert_close(gradients[name], grad, rtol=0, atol=1e-11, msg=name)


def test_under_autocast_the_solve_keeps_its_precision():
    model = dense(dtype=torch.float32, rtol=None, atol=None)
    x = inputs(3, 4).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(x)
        cast = model(x.bfloat16())
    torch.testing.assert_close(inside, model(x), rtol=0, atol=0)
    assert cast.dtype == torch.float32
    inside.sum().backward()
    assert model.U.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(3, 5, dtype=F64), r"\(batch, 4\)"),
        (torch.zeros(4, dtype=F64), r"\(batch, 4\)"),
        (torch.zeros(3, 4, dtype=torch.int64), "floating"),
        (torch.zeros(3, 4), "float32"),
        (torch.zeros(0, 4, dtype=F64), "empty batch"),
        ([[0.0] * 4], "list"),
    ],
)
def test_bad_input_is_one_sentence(bad, message):
    with pytest.raises(eq.InputError, match=message):
        dense()(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: eq.MonotoneDEQ(4, 6, m=0.0), "m must be a positive"),
        (lambda: eq.MonotoneDEQ(4, 6, m=-1.0), "m must be a positive"),
        (lambda: eq.MonotoneDEQ(0, 6), "in_features"),
        (lambda: eq.MonotoneDEQ(4, 6.0), "features"),
        (lambda: eq.MonotoneDEQ(4, 6, activation="gelu"), "not monotone"),
        (lambda: eq.MonotoneDEQ(4, 6, activation="selu"), "expands"),
        (lambda: eq.MonotoneDEQ(4, 6, activation="relu,tanh"), "2 neurons, not 6"),
        (lambda: eq.MonotoneDEQ(4, 6, solver="pr"), "solver"),
        (lambda: eq.MonotoneDEQ(4, 6, adjoint="exact"), "adjoint"),
        (lambda: eq.MonotoneDEQ(4, 6, on_failure="panic"), "on_failure"),
        (lambda: eq.MonotoneDEQ(4, 6, max_steps=0), "max_steps"),
        (lambda: eq.LipschitzDEQ(4, 6, 2, gamma=0.0), "gamma"),
        (lambda: eq.MonotoneConvDEQ(1, 2, (4, 4), 2), "odd"),
        (lambda: eq.MonotoneConvDEQ(1, 2, (4, 4), padding="reflect"), "padding"),
        (lambda: eq.MonotoneConvDEQ(1, 2, (4, 4), activation="relu,relu"), "one activation"),
        (lambda: eq.MultiTierDEQ(1, (2, 2, 2), (6, 8)), "divisible by 4"),
        (lambda: eq.MonotoneConvDEQ(1, 2, 5), r"shape must be \(height, width\)"),
        (lambda: eq.MultiTierDEQ(1, (2,), (6, 8)), "at least two"),
    ],
)
def test_bad_options_are_refused(make, message):
    with pytest.raises(eq.InputError, match=message):
        make()


def test_a_network_of_mixed_neurons():
    mixed = "relu,tanh,softplus,leaky_relu(0.3),sigmoid,elu"
    model, x = dense(activation=mixed), inputs(3, 4)
    assert residual(model, x) < 1e-10
    assert model.explicit().activation.name.startswith("relu,tanh")
