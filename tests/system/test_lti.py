"""Linear systems: the matrix equations hold, and the norm is the peak of the frequency response."""

from __future__ import annotations

import math

import pytest
import torch

from eqnets.errors import InputError
from eqnets.system.lti import LTI, bounded_real, hinf_norm, lyapunov
from eqnets.system.simulate import simulate


def random_lti(nx, nu, ny, radius, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    A = draw(nx, nx)
    if nx:
        A = A * radius / torch.linalg.eigvals(A).abs().max()
    return LTI(A, draw(nx, nu), draw(ny, nx), draw(ny, nu), dt=0.1)


@pytest.mark.parametrize("radius", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (4, 2, 3), (5, 3, 2)])
def test_norm_is_the_peak_of_the_response_and_bounded_real_proves_it(sizes, radius):
    for seed in range(6):
        lti = random_lti(*sizes, radius, seed)
        norm = hinf_norm(lti)
        omega = torch.cat([torch.linspace(0, math.pi, 20_001), torch.linalg.eigvals(lti.A).angle().abs()]) / lti.dt
        peak = float(torch.linalg.matrix_norm(lti.frequency_response(omega.double()), 2).max())
        assert peak <= norm * (1 + 1e-8)
        assert norm <= peak * (1 + 1e-3)
        with pytest.raises(InputError, match="not below gamma"):
            bounded_real(lti, norm * 0.999)
        for gamma in (norm * 1.001, norm * 2):
            P = bounded_real(lti, gamma)
            AB, CD = torch.cat([lti.A, lti.B], 1), torch.cat([lti.C, lti.D], 1)
            corner = torch.block_diag(P, gamma**2 * torch.eye(lti.nu, dtype=torch.float64))
            M = corner - AB.T @ P @ AB - CD.T @ CD
            scale = M.diagonal().rsqrt()
            assert float(torch.linalg.eigvalsh(scale[:, None] * M * scale)[0]) > 0
            assert float(torch.linalg.eigvalsh(P)[0]) > 0


def test_lyapunov_solves_its_equation_and_refuses_the_unstable():
    lti = random_lti(6, 1, 1, 0.97, 0)
    Q = torch.eye(6, dtype=torch.float64)
    P = lyapunov(lti.A, Q)
    torch.testing.assert_close(lti.A.T @ P @ lti.A - P + Q, torch.zeros_like(P), atol=1e-8, rtol=0)
    with pytest.raises(InputError, match="spectral radius is 1"):
        lyapunov(lti.A / 0.9, Q)
    assert hinf_norm(LTI(lti.A / 0.9, lti.B, lti.C, lti.D)) == math.inf


def test_frequency_response_is_what_a_sine_does():
    lti = random_lti(3, 1, 1, 0.5, 1)
    omega = 2.0
    t = torch.arange(400, dtype=torch.float64) * lti.dt
    y, _ = simulate(lti.to_lfr(), torch.cos(omega * t)[None, :, None])
    G = lti.frequency_response(torch.tensor([omega]))[0, 0, 0]
    expected = (G * torch.exp(1j * omega * t)).real
    torch.testing.assert_close(y[0, 200:, 0], expected[200:], atol=1e-9, rtol=0)


def test_a_change_of_coordinates_keeps_the_response():
    lti = random_lti(4, 2, 3, 0.8, 2)
    T = torch.randn(4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    omega = torch.linspace(0, 30, 7)
    torch.testing.assert_close(lti.transform(T).frequency_response(omega), lti.frequency_response(omega))


def test_static_and_empty_systems():
    gain = LTI(torch.zeros(0, 0), torch.zeros(0, 2), torch.zeros(1, 0), torch.tensor([[3.0, 4.0]]))
    assert hinf_norm(gain) == pytest.approx(5.0)
    assert bounded_real(gain, 5.1).shape == (0, 0)
    assert gain.spectral_radius() == 0.0


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ({"B": torch.zeros(3, 1)}, r"B has shape \(3, 1\)"),
        ({"A": torch.full((2, 2), float("nan"))}, "finite"),
        ({"dt": 0.0}, "positive number of seconds"),
    ],
)
def test_wrong_blocks_are_refused_in_words(blocks, words):
    good = {"A": torch.zeros(2, 2), "B": torch.zeros(2, 1), "C": torch.zeros(1, 2), "D": torch.zeros(1, 1)}
    with pytest.raises(InputError, match=words):
        LTI(**{**good, **blocks})
