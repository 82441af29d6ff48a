"""Sectors around a point hold at every sample, and are as narrow as they should be."""

import math
from fractions import Fraction

import pytest
import torch

from eqnets.certification.sector import LARGEST, SINE_SECTOR, sector
from eqnets.certification.sines import cosine, sine
from eqnets.system import nonlinearity
from eqnets_verify.around import _known, _series


@pytest.mark.parametrize("name", [*nonlinearity.names()])
@pytest.mark.parametrize(("v", "bound"), [(0.0, 0.4), (0.0, 3.1), (0.7, 1.5), (-2.5, 2.0), (0.3, None)])
def test_every_sampled_gain_lies_in_the_sector(name: str, v: float, bound: float | None) -> None:
    part, off = nonlinearity.get(name), 1e-3
    found = sector(part, Fraction(v), off, bound)
    assert part.slope[0] <= found.low <= found.high <= part.slope[1]
    s = torch.linspace(-(bound or 20.0), bound or 20.0, 4001, dtype=torch.float64)
    s = s[s.abs() > 1e-3]
    for true in (v - off, v, v + off):
        at = torch.tensor(true, dtype=torch.float64)
        gains = (part.value(true + s) - part.value(at)) / s
        assert found.low - 1e-9 <= float(gains.min()) <= float(gains.max()) <= found.high + 1e-9
        if bound is not None:
            # the integral by the trapezoidal rule
            t = torch.linspace(0, 1, 4001, dtype=torch.float64)
            for end in (-bound, bound):
                area = torch.trapezoid(part.value(true + end * t) - part.value(at), end * t)
                assert found.least - 1e-5 <= float(area) <= found.most + 1e-5


def test_the_sector_of_the_sine_is_narrow() -> None:
    part = nonlinearity.get("sine_defect")
    for z in (0.5, 1.5, 2.4, 3.1):
        found = sector(part, Fraction(0), 0.0, z)
        assert found.high == pytest.approx(1 - math.sin(z) / z, abs=1e-4)
        assert found.most == pytest.approx(z * z / 2 - 1 + math.cos(z), abs=1e-11)
        assert found.high > 1 - math.sin(z) / z
        assert found.least < z * z / 2 - 1 + math.cos(z) < found.most
    s = torch.linspace(4.49, 4.50, 10001, dtype=torch.float64)
    highest = float((1 - s.sin() / s).max())
    assert highest < SINE_SECTOR < highest + 1e-9
    assert sector(part, Fraction(0), 0.0, None).high == SINE_SECTOR
    assert sector(part, Fraction(1), 0.0, None).high == 2.0
    assert sector(part, Fraction(0), 0.0, 2 * LARGEST).high == 2.0


def test_saturation_within_a_bound_keeps_some_gain() -> None:
    part = nonlinearity.get("hardtanh")
    assert sector(part, Fraction(0), 0.0, 4.0).low == 0.25
    assert sector(part, Fraction(0), 0.0, 0.5).low == 1.0
    assert sector(part, Fraction(1, 2), 0.0, 2.0).low == 0.25
    assert sector(part, Fraction(2), 0.0, 2.0).low == 0.0


def test_series_of_the_prover_and_of_the_checker() -> None:
    for x in (-10.0, -3.3, -1e-9, 0.0, 0.1, 2.0, 9.9):
        assert float(sine(Fraction(x))) == pytest.approx(math.sin(x), abs=1e-15)
        assert float(cosine(Fraction(x))) == pytest.approx(math.cos(x), abs=1e-15)
        assert abs(_series(Fraction(x), 1) - sine(Fraction(x))) < Fraction(1, 2**58)
        assert abs(_series(Fraction(x), 0) - cosine(Fraction(x))) < Fraction(1, 2**58)


@pytest.mark.parametrize("name", ["sine_defect", "hardtanh", "tanh"])
@pytest.mark.parametrize(("v", "off", "z"), [(0.0, 0.0, 2.0), (0.0, 0.0, 0.0), (0.5, 1e-6, 1.2), (-1.5, 0.1, 3.0)])
def test_the_checker_accepts_the_sectors_of_the_prover_and_nothing_narrower(
    name: str, v: float, off: float, z: float
) -> None:
    part = nonlinearity.get(name)
    found = sector(part, Fraction(v), off, z or None)
    low, high, least, most = _known(name, part.slope, Fraction(v), Fraction(off), Fraction(z))
    assert found.low <= low
    assert high <= found.high
    assert found.low == pytest.approx(float(low), abs=1e-11)
    assert found.high == pytest.approx(float(high), abs=1e-11)
    assert (found.least, found.most) == pytest.approx((float(least), float(most)), abs=1e-10)
