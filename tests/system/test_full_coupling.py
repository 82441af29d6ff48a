"""w = φ(D11 w + b) with a full D11: found for every well posed model, where iteration and Newton's method fail."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.system import nonlinearity
from eqnets.system.kernels.equilibrium import full, newton

F64 = torch.float64
CASES = [(17, 10, "softplus", 30.0), (35, 40, "relu", 30.0), (38, 20, "softplus", 30.0), (5, 10, "hardtanh", 30.0)]


def well_posed(seed: int, n: int, skew: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """D11 with 2Λ − ΛD11 − D11ᵀΛ ≻ 0 for a Λ over four decades, and b."""
    generator = torch.Generator().manual_seed(seed)
    V, S = (torch.randn(n, n, generator=generator, dtype=F64) for _ in range(2))
    Lambda = torch.exp(2 * torch.randn(n, generator=generator, dtype=F64))
    N = 0.09 * V.T @ V + 0.01 * torch.eye(n, dtype=F64) + skew * (S - S.T)
    return (
        torch.eye(n, dtype=F64) - N / Lambda[:, None],
        10 * torch.randn(64, n, generator=generator, dtype=F64),
        Lambda,
    )


@pytest.mark.parametrize(("seed", "n", "name", "skew"), CASES)
def test_where_newton_cycles_the_splitting_arrives(seed, n, name, skew):
    D11, b, Lambda = well_posed(seed, n, skew)
    phi = nonlinearity.get(name)
    assert (
        float(torch.linalg.eigvalsh(2 * torch.diag(Lambda) - Lambda[:, None] * D11 - (Lambda[:, None] * D11).T)[0]) > 0
    )
    assert float(torch.linalg.eigvals(D11).abs().max()) > 10  # plain iteration diverges
    limit = lambda w: 1e-11 * (1 + w.abs().amax(-1))  # noqa: E731
    _, w, size, _ = newton(phi, D11, b, torch.zeros_like(b), 1e-12)
    assert bool((size > limit(w)).any()), "Newton's method alone would do: the case shows nothing"
    v, w, size, _ = full(phi, D11, b, torch.zeros_like(b), 1e-12)
    assert bool((size <= limit(w)).all())
    assert bool(((w - phi(w @ D11.T + b)).abs().amax(-1) <= limit(w)).all())
    torch.testing.assert_close(v, w @ D11.T + b, rtol=1e-9, atol=1e-9)


def test_a_single_precision_model_arrives_too():
    phi = nonlinearity.get("hardtanh")
    D11, b, _ = well_posed(4, 20, 1.0)
    _, w, size, _ = full(phi, D11.float(), b.float(), torch.zeros_like(b).float(), 1e-6)
    assert w.dtype == torch.float32 and bool((size <= 1e-5 * (1 + w.abs().amax(-1))).all())


def test_nan_in_one_sample_stays_there():
    D11, b, _ = well_posed(35, 40, 30.0)
    phi = nonlinearity.get("relu")
    b[3, 0] = torch.nan
    _, w, size, _ = full(phi, D11, b, torch.zeros_like(b), 1e-12)
    fine = torch.arange(64) != 3
    assert bool((size[fine] <= 1e-11 * (1 + w[fine].abs().amax(-1))).all())


def test_a_model_that_is_not_well_posed_still_fails_loudly_and_soon():
    lfr = eq.LFR(D11=[[3.0]], D12=[[1.0]], D21=[[1.0]], D22=[[0.0]], activation="relu")
    with pytest.raises(eq.NotConverged):
        eq.simulate(lfr, torch.ones(1, 1, 1, dtype=F64))


@pytest.mark.parametrize("method", ["auto", "reference"])
@pytest.mark.parametrize("activation", ["relu", "hardtanh", "softplus"])
def test_a_full_network_with_huge_parameters_simulates_and_differentiates(activation, method):
    for seed in range(3):
        ren = eq.ContractingREN(2, 3, 12, 2, activation=activation, acyclic=False, dtype=F64,
                                generator=torch.Generator().manual_seed(seed))  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, value in ren.named_parameters():
                spread = {"Y2": 30.0, "lam": 2.0}.get(name, 1.0)
                value.copy_(spread * torch.randn(value.shape, generator=generator, dtype=F64))
        u = 10 * torch.randn(16, 5, 2, generator=generator, dtype=F64)
        y, _ = eq.simulate(ren.explicit(), u, method=method)
        y.square().mean().backward()
        assert all(bool(p.grad.isfinite().all()) for p in ren.parameters())
