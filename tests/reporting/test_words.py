from __future__ import annotations

import math

import pytest

from eqnets.reporting import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3311, "0.331"), (12.0, "12.0"), (9.996, "10.0"), (1234.5, "1234"), (0.0, "0"), (-0.02, "−0.0200"),
        (float("nan"), "–"), (math.inf, "∞"), (4.2e-6, "4.20\u202f×\u202f10⁻⁶"), (-2.5e7, "−2.50\u202f×\u202f10⁷"),
        (0.0009999, "0.00100"),
    ],
)  # fmt: skip
def test_number(value: float, text: str) -> None:
    assert words.number(value) == text


def test_a_rate_is_rounded_away_from_optimism() -> None:
    for rate in (0.3, 0.97, 0.99831234, 1 - 1.234e-9):
        shown = float(words.rate(rate))
        assert rate <= shown < 1
        assert shown - rate < 0.02 * (1 - rate)


def test_time_constant() -> None:
    assert words.time_constant(math.exp(-0.01), 0.5) == pytest.approx(50.0)
    assert words.time_constant(1.0, 0.5) == math.inf
    assert words.time_constant(0.0, 0.5) == 0.0


def test_quantities_leave_out_units_that_say_nothing() -> None:
    assert words.quantity(0.331, "m/s²") == "0.331\u00a0m/s²"
    assert words.quantity(0.331, "") == words.quantity(0.331, None) == words.quantity(0.331, "-") == "0.331"


def test_a_percentage_is_never_rounded_to_perfect() -> None:
    assert words.percent(99.31) == "99.3"
    assert words.percent(99.995) == "99.995"
    assert words.percent(100.0) == "100"
    assert words.percent(-26.94) == "−26.9"


def test_names_become_plain_text_for_plotly() -> None:
    assert words.plain("<b>x</b> & y") == "&lt;b&gt;x&lt;/b&gt; &amp; y"
    assert words.plain("a\nb\x00c") == "a b c"
    assert len(words.short("x" * 500)) == 60
