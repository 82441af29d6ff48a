"""Figures, and one self-contained HTML page about a fit."""

from eqnets.reporting.decay import Decay, envelope, wrong_starts
from eqnets.reporting.report import report
from eqnets.reporting.trade_off import trade_off_figure
from eqnets.reporting.trade_off_page import trade_off_report

__all__ = ["Decay", "envelope", "report", "trade_off_figure", "trade_off_report", "wrong_starts"]
