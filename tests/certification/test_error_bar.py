"""Error bars: never below the true error, however early the solver stopped, in float32 too; and not far above it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import eqnets as eq
from eqnets.certification.error_bar import ErrorBar, error_bar
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR

F64 = torch.float64


def static(kind: str, seed: int, activation: str = "tanh") -> LFR:
    """A static network with a readout, from data outwards as it would be deployed."""
    g = torch.Generator().manual_seed(seed)
    made = {"activation": activation, "generator": g, "dtype": F64}
    if kind == "lipschitz":
        model = eq.LipschitzDEQ(5, 20, 4, 2.0, **made)
        return model.explicit().detach()
    lfr = eq.MonotoneDEQ(5, 20, m=0.3, **made).explicit().detach()
    V = torch.randn(4, 20, generator=g, dtype=F64)
    return lfr.replace(C2=None, D21=V, D22=torch.zeros(4, 5, dtype=F64), by=torch.randn(4, generator=g, dtype=F64))


def equilibria(lfr: LFR, u: Tensor) -> Tensor:
    """w* by Newton's method, to rounding."""
    w = torch.zeros(len(u), lfr.nv, dtype=F64)
    eye = torch.eye(lfr.nv, dtype=F64)
    for _ in range(100):
        v = w @ lfr.D11.mT + u @ lfr.D12.mT + lfr.bv
        r = w - lfr.activation.value(v)
        if float(r.abs().max()) < 1e-13:
            return w
        J = lfr.activation.derivative(v)[:, :, None] * lfr.D11
        w = w - torch.linalg.solve(eye - J, r[:, :, None])[:, :, 0]
    raise AssertionError("Newton's method has not converged")


def stopped(lfr: LFR, u: Tensor, steps: int, dtype: torch.dtype) -> Tensor:
    """Peaceman–Rachford's slower cousin, stopped early: damped iterations in a dtype."""
    lfr = lfr.to(dtype)
    w, step = torch.zeros(len(u), lfr.nv, dtype=dtype), 0.3 / float(torch.linalg.matrix_norm(lfr.D11, 2)) ** 2
    for _ in range(steps):
        w = w + min(step, 0.5) * (lfr.activation.value(w @ lfr.D11.mT + u.to(dtype) @ lfr.D12.mT + lfr.bv) - w)
    return w


def read(lfr: LFR, w: Tensor, u: Tensor) -> Tensor:
    lfr = lfr.to(w.dtype)
    return (w @ lfr.D21.mT + u.to(w.dtype) @ lfr.D22.mT + lfr.by).to(F64)


@pytest.mark.parametrize("dtype", [F64, torch.float32])
@pytest.mark.parametrize("kind, activation", [("monotone", "tanh"), ("monotone", "softplus"), ("lipschitz", "tanh")])
def test_no_error_is_above_its_bar(kind: str, activation: str, dtype: torch.dtype) -> None:
    worst = 0.0
    for seed in range(2):
        lfr = static(kind, seed, activation).to(dtype).to(F64)  # the weights that are deployed
        bar = error_bar(lfr)
        u = 3 * torch.randn(200, 5, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype).to(F64)
        exact = equilibria(lfr, u)
        for steps in (0, 3, 30, 300, 1000):
            w = stopped(lfr, u, steps, dtype)
            error = (read(lfr, w, u) - read(lfr, exact, u)).norm(dim=1)
            ratio = error / (bar(w, u) + 1e-12)  # what Newton's method itself leaves
            assert float(ratio.max()) <= 1.0
            worst = max(worst, float(ratio.max()))
    assert worst > 0.05  # and the bar says something


def test_kappa_is_sharper_than_the_norms() -> None:
    for seed in range(4):
        lfr = static("monotone", seed)
        W, V = lfr.D11, lfr.D21
        margin = 1 - float(torch.linalg.eigvalsh((W + W.mT) / 2)[-1])
        naive = (1 + float(torch.linalg.matrix_norm(W, 2)) / margin) * float(torch.linalg.matrix_norm(V, 2))
        assert error_bar(lfr).kappa < 0.9 * naive
    assert error_bar(lfr, of="neurons").kappa <= (1 + float(torch.linalg.matrix_norm(W, 2)) / margin) * (1 + 1e-4)


def test_a_solution_and_its_value_have_the_same_bar_which_tightens_with_the_tolerance() -> None:
    g = torch.Generator().manual_seed(0)
    model = eq.MonotoneDEQ(3, 8, generator=g, activation="tanh", rtol=1e-3, atol=1e-4)
    u = torch.randn(64, 3, generator=g)
    lfr = model.explicit().detach()
    bar, solution = error_bar(lfr), model.solve(u)
    loose = bar(solution, u)
    assert torch.equal(loose, bar(solution.value, u)) and loose.dtype == F64
    model.rtol, model.atol = 1e-5, 1e-6
    assert float((bar(model.solve(u), u) / loose).max()) < 0.2
    error = (solution.value.detach().to(F64) - equilibria(lfr, u.to(F64))).norm(dim=1)
    assert bool((error <= loose).all())


def test_errors_of_steps_do_not_pile_up_beyond_what_contraction_allows() -> None:
    g = torch.Generator().manual_seed(0)
    model = eq.ContractingREN(2, 3, 8, 2, rate=0.8, acyclic=False, generator=g, dtype=F64)
    lfr, cert = model.explicit().detach(), eq.certify(eq.Contracting(0.8), model.explicit().detach(), model.witness())
    R = torch.linalg.cholesky(cert.witness.P).mT
    bar = error_bar(lfr, of=R @ lfr.B1)
    x = y = torch.zeros(50, 3, dtype=F64)
    largest = torch.zeros((), dtype=F64)
    for _ in range(30):
        u = torch.randn(50, 2, generator=g, dtype=F64)
        w = _neurons(lfr, x @ lfr.C1.mT + u @ lfr.D12.mT + lfr.bv)
        rough = _neurons(lfr, y @ lfr.C1.mT + u @ lfr.D12.mT + lfr.bv)
        rough = rough + 0.01 * torch.randn(rough.shape, generator=g, dtype=F64)
        largest = torch.maximum(largest, bar(rough, u, y).max())
        x, y = (a @ lfr.A.mT + b @ lfr.B1.mT + u @ lfr.B2.mT + lfr.bx for a, b in ((x, w), (y, rough)))
        apart = ((x - y) @ R.mT).norm(dim=1).max()
        assert float(apart) <= float(largest) / (1 - 0.8)
    assert float(apart) > 0.02 * float(largest) / (1 - 0.8)


def _neurons(lfr: LFR, shift: Tensor) -> Tensor:
    w = torch.zeros_like(shift)
    for _ in range(300):
        w = 0.5 * w + 0.5 * lfr.activation.value(w @ lfr.D11.mT + shift)
    assert float((w - lfr.activation.value(w @ lfr.D11.mT + shift)).abs().max()) < 1e-10
    return w


def test_three_sentences_one_about_each() -> None:
    lfr = static("lipschitz", 0)
    u = torch.randn(10, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    bar = error_bar(lfr)
    epsilon = bar(stopped(lfr, u, 20, torch.float32), u)
    cert = eq.tighten(eq.Lipschitz(1.0), lfr)
    model, run, deployed = bar.sentences(cert, epsilon)
    assert lfr.digest() in model and "integer" in model
    assert "10 samples" in run and eq.certification.labels.up(bar.kappa) in run
    assert f"{eq.certification.labels.up(cert.claim.gamma)} ‖u − u'‖" in deployed and "ε(u')" in deployed
    other = bar.sentences(eq.certify(eq.WellPosed(), lfr), epsilon)[2]
    assert "within ε(u)" in other
    with pytest.raises(InputError, match="different systems"):
        error_bar(static("lipschitz", 1)).sentences(cert, epsilon)


def test_a_handed_on_neuron_is_not_rounded_twice() -> None:
    lfr = eq.MonotoneDEQ(3, 4, generator=torch.Generator().manual_seed(0), dtype=F64).explicit().detach()
    u, bar = torch.zeros(1, 3, dtype=F64), error_bar(lfr)
    w = equilibria(lfr.replace(activation="tanh"), u).float()
    assert float((bar(w, u) - error_bar(lfr, of="neurons")(w, u)).abs()) <= 1e-3 * float(bar(w, u))


@pytest.mark.parametrize("call, words", [
    (lambda lfr, bar: error_bar(lfr, of="state"), "of must be"),
    (lambda lfr, bar: error_bar(lfr, of=torch.zeros(2, 3)), "of must be a matrix"),
    (lambda lfr, bar: error_bar(LFR(D22=torch.eye(2))), "without neurons"),
    (lambda lfr, bar: error_bar(lfr.replace(y_units=("m", "s", "m", "m"))), "y_scale"),
    (lambda lfr, bar: bar(torch.zeros(2, 3), torch.zeros(2, 5)), "w must be"),
    (lambda lfr, bar: bar(torch.zeros(2, 20), torch.zeros(3, 5)), "u must be"),
])  # fmt: skip
def test_wrong_input_is_a_sentence(call, words: str) -> None:
    lfr = static("monotone", 0)
    with pytest.raises(InputError, match=words):
        call(lfr, error_bar(lfr))


def test_scaled_outputs_have_scaled_bars() -> None:
    lfr = static("monotone", 0)
    size = torch.tensor([10.0, 0.1, 1.0, 5.0], dtype=F64)
    physical = lfr.replace(D21=size[:, None] * lfr.D21, by=size * lfr.by, y_units=("m", "s", "K", "N"))
    u = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    w = stopped(lfr, u, 10, F64)
    scaled = error_bar(physical, y_scale=tuple(size.tolist()))
    assert isinstance(scaled, ErrorBar) and torch.allclose(scaled(w, u), error_bar(lfr)(w, u), rtol=1e-4)


def test_an_expanding_network_has_no_error_bar() -> None:
    with pytest.raises(NotCertified):
        error_bar(LFR(D11=2 * torch.eye(3, dtype=F64), D12=torch.eye(3, dtype=F64), D21=torch.eye(3, dtype=F64),
                      D22=torch.zeros(3, 3, dtype=F64)))  # fmt: skip
