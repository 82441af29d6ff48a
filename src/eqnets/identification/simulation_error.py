"""The error that training minimises and validation compares: simulated minus measured, over the samples that count."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from eqnets.identification.dynamics import roll
from eqnets.identification.streams import Streams
from eqnets.models import BlackBox
from eqnets.system.lfr import LFR


def system_of(model: nn.Module, dtype: torch.dtype) -> LFR | BlackBox:
    """What is simulated: the LFR that the parameters stand for now, or the model itself where there is none."""
    return model if isinstance(model, BlackBox) else model.explicit().to(dtype)  # type: ignore[operator]


def squared_error(
    system: LFR | BlackBox, streams: Streams, start: Tensor, segment: slice | None = None
) -> tuple[Tensor, Tensor]:
    """The mean squared error of a stretch of every stream, all outputs together.

    Args:
        system: of `system_of`.
        streams: in the system's dtype.
        start: (stream, nx) the states before the stretch.
        segment: which samples; None is all.

    Returns:
        The error, differentiable, and the states after the stretch (stream, nx).
    """
    segment = slice(None) if segment is None else segment
    weight = streams.weight[:, segment, None]
    y, last = roll(system, streams.u[:, segment], start)
    error = (weight * (y - streams.y[:, segment])).square().sum()
    return error / (weight.sum() * y.shape[-1]).clamp(min=1), last


def handed_on(model: nn.Module, streams: Streams, x0: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Simulate every stream to its end, where those that continue it begin.

    Args:
        model: that is trained.
        streams: in the dtype in which it is simulated.
        x0: (record, nx) the records' initial states.
        starts: (stream, nx) where streams that continue others begin so far.

    Returns:
        The ends (stream, nx), and the new starts; without gradients, a state that is not finite is 0.
    """
    with torch.no_grad():
        system = system_of(model, streams.u.dtype)
        _, last = squared_error(system, streams, streams.starting(x0, starts))
        ends = torch.nan_to_num(last, 0.0, 0.0, 0.0)
        return ends, streams.taken_over(starts, ends)


def validation_rmse(system: LFR | BlackBox, streams: Streams, x0: Tensor) -> float:
    """The root mean square simulation error over the samples that count, all outputs together.

    Args:
        system: the model, an LFR in the streams' dtype.
        streams: validation streams.
        x0: (record, nx) the initial states of those streams that begin where their record does.

    Returns:
        The error in the streams' (normalised) units; inf where the simulation is not finite.
    """
    start = torch.where(streams.warm[:, None], x0.to(streams.u.dtype)[streams.record], 0.0)
    with torch.no_grad():
        y, _ = roll(system, streams.u, start)
        weight = streams.weight[:, :, None]
        error = (weight * (y - streams.y)).double().square().sum() / (streams.weight.double().sum() * y.shape[-1])
    value = float(error.sqrt())
    return value if math.isfinite(value) else math.inf
