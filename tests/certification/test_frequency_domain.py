"""What the frequency response decides, python-control says too: passivity indices and the circle criterion."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch

import eqnets as eq

control = pytest.importorskip("control", reason="the outside oracle is python-control; install the extra 'control'")

F64 = torch.float64
BLOCKS = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def stable(seed: int, n: int, nu: int, ny: int, dt: float | None) -> BLOCKS:
    g = torch.Generator().manual_seed(seed)
    A, B, C, D = (torch.randn(s, generator=g, dtype=F64) for s in ((n, n), (n, nu), (ny, n), (ny, nu)))
    poles = torch.linalg.eigvals(A)
    A = 0.8 * A / float(poles.abs().max()) if dt else A - (float(poles.real.max()) + 0.3) * torch.eye(n, dtype=F64)
    return A.numpy(), B.numpy(), C.numpy(), D.numpy()


def smallest(blocks: BLOCKS, dt: float | None, of) -> float:
    """The smallest value over all frequencies of a function of the response, by a grid and a local search."""
    system = control.ss(*blocks, dt or 0)

    def value(phase: float) -> float:
        """Frequencies as phases in [0, π]: of z, or of (1 + jω)/(1 − jω)."""
        with np.errstate(divide="ignore"):
            omega = phase / dt if dt else np.tan(phase / 2)
        G = np.asarray(system(np.exp(1j * omega * dt) if dt else 1j * omega, squeeze=False))
        return of(G.reshape(blocks[3].shape))

    phases = np.linspace(0, np.pi * (1 - 1e-6), 400)
    values = [value(phase) for phase in phases]
    k = int(np.argmin(values))
    near = scipy.optimize.minimize_scalar(
        value, bounds=(phases[max(k - 1, 0)], phases[min(k + 1, 399)]), method="bounded", options={"xatol": 1e-10}
    )
    return min(values[k], float(near.fun))


@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_the_passivity_index_is_that_of_the_frequency_response(seed: int, n: int, dt: float | None) -> None:
    A, B, C, D = stable(seed, n, 2, 2, dt)
    index = smallest((A, B, C, D), dt, lambda G: float(np.linalg.eigvalsh((G + G.conj().T) / 2)[0]))
    lfr = eq.LFR(A=A, B2=B, C2=C, D22=D, dt=dt)
    spare = 1e-4 * (1 + abs(index))
    assert eq.certify(eq.Passive(index - spare), lfr).margin > 0
    with pytest.raises(eq.NotCertified):
        eq.certify(eq.Passive(index + 1e-6 * (1 + abs(index))), lfr)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("seed", range(4))
def test_the_circle_criterion_is_that_of_the_frequency_response(seed: int, dt: float | None, activation: str) -> None:
    """w = φ(v) in the sector [0, 1] around x⁺ = Ax + kBw, v = Cx: absolutely stable by it up to k max Re G = 1."""
    A, B, C, D = stable(seed, 3, 1, 1, dt)
    most = -smallest((A, B, C, 0 * D), dt, lambda G: -float(G[0, 0].real))
    assert most > 0
    claim = eq.AbsoluteStability(multiplier="circle")
    for k, holds in ((0.99 / most, True), (1.01 / most, False)):
        lfr = eq.LFR(A=A, B1=k * B, C1=C, C2=C, D22=[[]], activation=activation, dt=dt)
        if holds:
            assert eq.certify(claim, lfr).margin > 0
        else:
            with pytest.raises(eq.NotCertified):
                eq.certify(claim, lfr)
