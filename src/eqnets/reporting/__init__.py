"""Figures, and one self-contained HTML page about a fit."""

from eqnets.reporting.decay import Decay, envelope, wrong_starts
from eqnets.reporting.report import report
from eqnets.reporting.trade_off import trade_off_figure

__all__ = ["Decay", "envelope", "report", "trade_off_figure", "wrong_starts"]
