"""Claims check their numbers, and say themselves in physical units with every number on the safe side."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from eqnets.certification.claim import Contracting, Lipschitz, WellPosed
from eqnets.certification.labels import Labels, down, rate_words, ratio_unit, up
from eqnets.errors import InputError

PLAIN = Labels(3, 2, 1, 0.5)
MIXED = Labels(3, 2, 1, 0.5, ("force", "temp"), ("acc",), ("N", "K"), ("m/s²",))


@pytest.mark.parametrize("make, words", [
    (lambda: Contracting(-0.1), "negative"),
    (lambda: Contracting(float("nan")), "finite"),
    (lambda: Contracting("fast"), "number"),  # type: ignore[arg-type]
    (lambda: Lipschitz(0.0), "positive"),
    (lambda: Lipschitz(-1.0), "positive"),
    (lambda: Lipschitz(math.inf), "finite"),
    (lambda: Lipschitz(1.0, u_scale=(1.0, 0.0)), r"u_scale\[1\]"),
    (lambda: Lipschitz(1.0, y_scale=(1.0, None)), r"y_scale\[1\]"),  # type: ignore[arg-type]
    (lambda: Contracting(1.5).for_system(PLAIN), "0 < rate ≤ 1"),
    (lambda: Contracting(0.0).for_system(PLAIN), "0 < rate ≤ 1"),
    (lambda: Lipschitz(1.0, u_scale=(1.0,)).for_system(PLAIN), "1 numbers, but the model has 2 inputs"),
    (lambda: Lipschitz(1.0, y_scale=(1.0, 1.0)).for_system(PLAIN), "2 numbers, but the model has 1 outputs"),
    (lambda: Lipschitz(1.0).for_system(MIXED), r"different units \(N, K\).*u_scale"),
])  # fmt: skip
def test_a_number_that_cannot_be_is_a_worded_error(make, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=words):
        make()


def test_channels_of_different_outputs_need_a_scale_too() -> None:
    labels = Labels(1, 1, 2, 1.0, y_units=("m", "rad"))
    with pytest.raises(InputError, match="y_scale"):
        Lipschitz(1.0).for_system(labels)
    assert Lipschitz(1.0, y_scale=(1.0, 0.1)).for_system(labels).y_scale == (1.0, 0.1)


def test_scales_come_as_any_sequence_and_are_kept_as_floats() -> None:
    claim = Lipschitz(2, u_scale=np.array([1, 2]), y_scale=[3])  # type: ignore[arg-type]
    assert claim == Lipschitz(2.0, (1.0, 2.0), (3.0,))
    assert hash(claim) == hash(Lipschitz(2.0, (1.0, 2.0), (3.0,)))


def test_the_default_rate_is_one_per_step_and_plain_contraction_in_continuous_time() -> None:
    assert Contracting().rate == 1.0
    assert Contracting().for_system(PLAIN).rate == 1.0
    continuous = Labels(3, 2, 1, None)
    assert Contracting().for_system(continuous).rate == 0.0
    assert Contracting(1.0).for_system(continuous).rate == 1.0  # asked for: c = 1 1/s
    assert Contracting(2.5).for_system(continuous).rate == 2.5


def test_pair_gains_carry_the_units_and_are_not_rounded_down() -> None:
    claim = Lipschitz(3.0, u_scale=(10.0, 0.7), y_scale=(0.1,))
    force, temp = claim.pair_gains(MIXED)
    assert (force.output, force.input, force.unit) == ("acc", "force", "(m/s²)/N")
    assert temp.unit == "(m/s²)/K"
    assert Fraction(force.gain) >= Fraction(3.0) * Fraction(0.1) / Fraction(10.0)
    assert Fraction(temp.gain) >= Fraction(3.0) * Fraction(0.1) / Fraction(0.7)
    assert force.gain == pytest.approx(0.03) and temp.gain == pytest.approx(3 * 0.1 / 0.7)


@pytest.mark.parametrize("gamma, size", [(40.0, 1.0), (0.3, 1.0), (3.0, 0.1), (1e300, 1.0)])
def test_the_gain_of_a_pair_of_equal_scales_is_gamma_itself(gamma: float, size: float) -> None:
    (pair,) = Lipschitz(gamma, (size,), (size,)).pair_gains(Labels(3, 1, 1, 0.5, ("u",), ("y",)))
    assert pair.gain == gamma


def test_a_gain_between_channels_without_units_has_none() -> None:
    unknown, known = (Labels(3, 1, 1, 0.5, ("u",), ("y",), (unit,), ("",)) for unit in ("", "N"))
    claim = Lipschitz(40.0)
    assert claim.pair_gains(unknown)[0].unit == "" and claim.pair_gains(known)[0].unit == "1/N"
    text = claim.sentence(unknown)
    assert "y from u: 40." in text and "no units were given" in text and "physical" not in text
    assert "physical units" in claim.sentence(known)


def test_the_gain_sentence_says_what_it_is_about() -> None:
    text = Lipschitz(2.5, u_scale=(10.0, 1.0), y_scale=(0.2,)).sentence(MIXED)
    for part in ("‖S_y⁻¹Δy‖ ≤ 2.5 ‖S_u⁻¹Δu‖", "force: 10 N", "temp: 1 K", "acc: 0.2 m/s²", "acc from force: 0.05",
                 "(m/s²)/N", "same initial state x₀", "ℓ2", "encoder", "not of the plant", "physical"):  # fmt: skip
        assert part in text
    assert "physical" not in Lipschitz(1.0).sentence(PLAIN)


def test_the_contraction_sentence_states_the_proved_rate_and_its_time_constant() -> None:
    text = Contracting(0.9).sentence(PLAIN, 0.5)
    assert "0.9^t" in text and "steps of 0.5 s" in text and "0.5 per step" in text
    assert f"{0.5 / math.log(2):.4g}"[:4] in text and "not of the plant" in text
    assert "1^t" not in Contracting(1.0).sentence(PLAIN, 0.99)
    continuous = Contracting(0.2).sentence(Labels(3, 2, 1, None), 0.25)
    assert "c = 0.2 1/s" in continuous and "time constant of 4 s" in continuous
    assert "no state" in Contracting(1.0).sentence(Labels(0, 2, 1, 1.0), 1.0)
    assert "exactly one solution" in WellPosed().sentence(PLAIN)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 2 / 3, 123456.789, 1e-9 / 7, 7.123456789e12, 0.9999999])
def test_printed_bounds_are_on_the_safe_side(value: float) -> None:
    assert Fraction(up(value)) >= Fraction(value) - Fraction(value) * Fraction(1, 2**53)
    assert float(up(value)) >= value >= float(down(value))


def test_a_rate_close_to_one_is_not_printed_as_one() -> None:
    assert "0.99999999" in rate_words(1 - 3e-9, 1.0)


@pytest.mark.parametrize("above, below, unit", [
    ("m", "N", "m/N"), ("m/s²", "N", "(m/s²)/N"), ("V", "V", "V/V"), ("m", "", "m"), ("", "N", "1/N"),
])  # fmt: skip
def test_units_of_quotients(above: str, below: str, unit: str) -> None:
    assert ratio_unit(above, below) == unit


def test_scales_in_a_sentence_are_rounded_to_the_side_on_which_it_stays_true() -> None:
    """‖Δy/s_y‖ ≤ γ‖Δu/s_u‖ says less where s_u is smaller and s_y larger."""
    labels = Labels(0, 1, 1, 1.0, ("force\nholds",), ("acc",))
    for size in (1.23456789, 0.98765432109, 1 / 3, 2 / 3):
        said = Lipschitz(2.0, (size,), (size,)).sentence(labels)
        assert "force\\nholds: " in said and said.isprintable()
        s_u, s_y = (float(said.split(f"{name}: ")[1].split(")")[0]) for name in ("nholds", "acc"))
        assert s_u <= size <= s_y and s_y - s_u < 1e-5 * size
