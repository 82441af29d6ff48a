"""Physical units, folded into the LFR once: the model that was trained on normalised signals, in volts and metres.

    u_n = (u − u_offset) / u_scale,     y = y_offset + y_scale · y_n,     the states and neurons stay as they are.

What is proved about states and neurons is untouched: contraction's inequality sees only A, B1, C1, D11, so the same
(P, Λ) proves it. A gain changes its meaning: ‖Δy/y_scale‖ ≤ γ ‖Δu/u_scale‖ is the claim that the same witness proves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.lfr import LFR


def fold(
    lfr: LFR,
    u_offset: Any = 0.0,
    u_scale: Any = 1.0,
    y_offset: Any = 0.0,
    y_scale: Any = 1.0,
    *,
    u_names: Sequence[str] | None = None,
    y_names: Sequence[str] | None = None,
    u_units: Sequence[str] | None = None,
    y_units: Sequence[str] | None = None,
) -> LFR:
    """The LFR from physical input to physical output, of one from normalised input to normalised output.

    Args:
        lfr: the system between normalised signals, discrete or continuous.
        u_offset: (nu,) or a number, in the units of u.
        u_scale: (nu,) or a number, positive, in the units of u.
        y_offset: (ny,) or a number, in the units of y.
        y_scale: (ny,) or a number, positive, in the units of y.
        u_names: names of the inputs; None keeps those of `lfr`.
        y_names: names of the outputs; None keeps those of `lfr`.
        u_units: units of the inputs; None keeps those of `lfr`.
        y_units: units of the outputs; None keeps those of `lfr`.

    Returns:
        The physical LFR, in the dtype of `lfr`, with the same states, neurons and dt.

    Raises:
        InputError: a vector of the wrong length, a number that is not finite, or a scale that is not positive.
    """
    u0, su = _vector("u_offset", u_offset, lfr.nu, lfr), _vector("u_scale", u_scale, lfr.nu, lfr)
    y0, sy = _vector("y_offset", y_offset, lfr.ny, lfr), _vector("y_scale", y_scale, lfr.ny, lfr)
    for name, scale in (("u_scale", su), ("y_scale", sy)):
        if bool((scale <= 0).any()):
            raise InputError(f"every {name} must be positive; got {scale.tolist()}. A constant channel has no scale.")
    B2, D12, D22 = lfr.B2 / su, lfr.D12 / su, lfr.D22 / su
    labels = {"u_names": u_names, "y_names": y_names, "u_units": u_units, "y_units": y_units}
    return lfr.replace(
        B2=B2, bx=lfr.bx - B2 @ u0,
        D12=D12, bv=lfr.bv - D12 @ u0,
        C2=sy[:, None] * lfr.C2, D21=sy[:, None] * lfr.D21, D22=sy[:, None] * D22, by=y0 + sy * (lfr.by - D22 @ u0),
        **{name: label for name, label in labels.items() if label is not None},
    )  # fmt: skip


def _vector(name: str, value: Any, count: int, lfr: LFR) -> Tensor:
    try:
        vector = torch.as_tensor(value).detach().to(lfr.device, lfr.dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be numbers, one per channel; got {value!r}.") from error
    if vector.ndim == 0:
        vector = vector.expand(count)
    if vector.shape != (count,):
        raise InputError(f"{name} has shape {tuple(vector.shape)}, but one number per channel ({count},) is needed.")
    if not bool(torch.isfinite(vector).all()):
        raise InputError(f"{name} must be finite; got {vector.tolist()}.")
    return vector
