"""Every certified claim against pairs of states and inputs, in the two kinds of time, for every activation.

Nothing of the library's simulation is used: neurons are solved for here, and increments of the storage are compared
with the supply pointwise, so that no integration error blurs the comparison.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import eqnets as eq
from eqnets.system import nonlinearity

F64 = torch.float64
ACTIVATIONS = sorted({*nonlinearity.names(), "leaky_relu(0.2)", "elu(1.3)", "softshrink(0.3)"})
Q = torch.tensor([[-1.0, 0.3], [0.3, -0.5]], dtype=F64)
S = torch.tensor([[0.2, 0.0], [0.1, 0.3]], dtype=F64)
CLAIMS = {
    "contracting": eq.Contracting(), "gain": eq.Lipschitz(1.0, (1.0, 2.0), (0.5, 1.0)),
    "passive": eq.Passive(-1.0, 0.01), "supply": eq.Dissipative(Q, S, 150 * torch.eye(2, dtype=F64)),
}  # fmt: skip


def member(activation: str, dt: float | None) -> eq.LFR:
    """3 states and 4 neurons in a full D11, with biases; a direct path, so that passivity is possible."""
    g = torch.Generator().manual_seed(3)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=F64)

    A, eye = randn(3, 3), torch.eye(2, dtype=F64)
    A = 0.6 * A / float(torch.linalg.matrix_norm(A, 2)) - (0 if dt else 2) * torch.eye(3, dtype=F64)
    return eq.LFR(
        A=A, B1=0.25 * randn(3, 4), B2=randn(3, 2), C1=0.25 * randn(4, 3), D11=0.1 * randn(4, 4), D12=0.3 * randn(4, 2),
        C2=0.3 * randn(2, 3), D21=0.3 * randn(2, 4), D22=(2 if dt else 4) * eye + 0.1 * randn(2, 2), bx=randn(3),
        bv=randn(4), by=randn(2), activation=activation, dt=dt,
    )  # fmt: skip


def step(lfr: eq.LFR, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """x⁺ (or ẋ) and y, the neurons by fixed-point iteration: ‖D11‖ times the slopes is below 1 here."""
    c = x @ lfr.C1.mT + u @ lfr.D12.mT + lfr.bv
    w = torch.zeros_like(c)
    for _ in range(400):
        w, before = lfr.activation.value(w @ lfr.D11.mT + c), w
        if float((w - before).abs().max()) < 1e-13 * (1 + float(w.abs().max())):
            break
    else:
        raise AssertionError("the neurons were not found")
    return (
        x @ lfr.A.mT + w @ lfr.B1.mT + u @ lfr.B2.mT + lfr.bx,
        x @ lfr.C2.mT + w @ lfr.D21.mT + u @ lfr.D22.mT + lfr.by,
    )


def form(a: Tensor, M: Tensor, b: Tensor) -> Tensor:
    return ((a @ M) * b).sum(-1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dt", [0.1, None])
def test_storages_of_pairs_obey_what_is_certified(dt: float | None, activation: str) -> None:
    lfr, proved = member(activation, dt), 0
    for claim in CLAIMS.values():
        try:
            search = eq.tighten if isinstance(claim, eq.Contracting | eq.Lipschitz) else eq.certify
            cert = search(claim, lfr)
        except eq.NotCertified:
            continue
        proved += 1
        _holds(cert, lfr)
    assert proved >= (3 if dt else 2)


def _holds(cert: eq.Certificate, lfr: eq.LFR) -> None:
    P, supply, g = cert.witness.P, cert.witness.supply, torch.Generator().manual_seed(0)
    near = torch.tensor([1e-2, 1.0, 10.0], dtype=F64).repeat(3)[:, None, None]
    far = torch.tensor([0.3, 3.0, 10.0], dtype=F64).repeat_interleave(3)[:, None, None]
    x, apart = (size * torch.randn(9, 60, 3, generator=g, dtype=F64) for size in (far, near))
    u, change = (size * torch.randn(9, 60, 2, generator=g, dtype=F64) for size in (far, near))
    envelope = eq.Recovery.of(cert)
    after, y = step(lfr, x, u)
    for dx, du in ((apart, 0 * change), (apart, change), (0 * apart, change)):
        other, seen = step(lfr, x + dx, u + du)
        df, dy, V = other - after, seen - y, form(dx, P, dx)
        grows = form(df, P, df) - V if lfr.dt else 2 * form(dx, P, df)
        spare = 1e-9 * (V + du.square().sum(-1))
        if not bool(du.any()):
            decay = (cert.rate**2 - 1 if lfr.dt else -2 * cert.rate) * V
            assert bool((grows <= decay + spare).all())
            assert bool((dy.abs() <= envelope.gains * V.sqrt()[..., None] * (1 + 1e-9)).all())
        if supply is not None:
            received = form(dy, supply.Q, dy) + 2 * form(du, supply.S, dy) + form(du, supply.R, du)
            assert bool((grows <= received + spare).all())


def test_a_false_certificate_is_found_out() -> None:
    """The pairs see a rate that is too good, and a gain that is too small."""
    lfr = member("identity", 0.1)
    cert = eq.tighten(eq.Contracting(), lfr)
    assert cert.rate is not None
    better = replace(cert, evidence=replace(cert.evidence, rate=0.9 * cert.rate))
    with pytest.raises(AssertionError):
        _holds(better, lfr)
    cert = eq.tighten(eq.Lipschitz(1.0), lfr.replace(A=0 * lfr.A, B1=0 * lfr.B1, B2=0 * lfr.B2))
    supply = cert.witness.supply
    assert supply is not None
    less = replace(cert, witness=replace(cert.witness, supply=replace(supply, R=0.5 * supply.R)))
    with pytest.raises(AssertionError):
        _holds(less, cert.lfr)
