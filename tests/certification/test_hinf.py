"""H∞ norms: the library's own, the search's optimum and python-control's, all the same to 1e-6."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch.nn.functional import pad

import eqnets as eq
from eqnets.certification import semidefinite
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels
from eqnets.system.lti import LTI, hinf_norm

control = pytest.importorskip("control", reason="the outside oracle is python-control; install the extra 'control'")

F64 = torch.float64


def system(seed: int, nu: int, nx: int, ny: int) -> LTI:
    g = torch.Generator().manual_seed(seed)
    A, B, C, D = (torch.randn(s, generator=g, dtype=F64) for s in ((nx, nx), (nx, nu), (ny, nx), (ny, nu)))
    return LTI(0.9 * A / float(torch.linalg.eigvals(A).abs().max()), B, C, D)


def peak(lti: LTI) -> float:
    """python-control's norm: slycot's ab13dd where it is installed, else its own bisection, for square systems only."""
    ny, nu = lti.D.shape
    n = max(ny, nu)  # rows and columns of zeros change no norm
    B, C, D = pad(lti.B, (0, n - nu)), pad(lti.C, (0, 0, 0, n - ny)), pad(lti.D, (0, n - nu, 0, n - ny))
    outside = control.ss(*(block.numpy() for block in (lti.A, B, C, D)), 1.0)
    if importlib.util.find_spec("slycot"):
        return float(control.linfnorm(outside, tol=1e-10)[0])
    return float(control.norm(outside, p="inf", tol=1e-10))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 2, 1), (2, 4, 3), (3, 8, 2)])
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_the_norm_is_that_of_python_control(seed: int, sizes: tuple[int, int, int]) -> None:
    lti = system(seed, *sizes)
    outside = peak(lti)
    assert hinf_norm(lti) == pytest.approx(outside, rel=1e-6)
    lfr = eq.LFR(A=lti.A, B2=lti.B, C2=lti.C, D22=lti.D)
    gamma = semidefinite.smallest_gain(Rows.of(lfr), eq.Lipschitz(1.0), Labels.of(lfr))[0]
    assert gamma == pytest.approx(outside, rel=1e-6)
    # and both are attained on the unit circle, up to the grid
    turns = np.exp(2j * np.pi * np.linspace(0, 0.5, 501))
    A, B, C, D = (block.numpy() for block in (lti.A, lti.B, lti.C, lti.D))
    response = [np.linalg.norm(C @ np.linalg.solve(z * np.eye(len(A)) - A, B) + D, 2) for z in turns]
    assert max(response) <= outside * (1 + 1e-6) and max(response) > 0.97 * outside


def test_certify_draws_the_line_where_python_control_does() -> None:
    for seed in range(3):
        lti = system(seed, 2, 3, 2)
        lfr, outside = eq.LFR(A=lti.A, B2=lti.B, C2=lti.C, D22=lti.D), peak(lti)
        assert eq.certify(eq.Lipschitz(outside * (1 + 1e-5)), lfr).margin > 0
        with pytest.raises(eq.NotCertified):
            eq.certify(eq.Lipschitz(outside * (1 - 1e-6)), lfr)
