"""Figures, and one self-contained HTML page about a fit."""

from eqnets.reporting.decay import Decay, envelope, wrong_starts
from eqnets.reporting.report import report

__all__ = ["Decay", "envelope", "report", "wrong_starts"]
