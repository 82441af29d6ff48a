"""What must not hide in a cell: layers that change between two evaluations, or that mix the samples of a batch."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from eqnets.errors import InputError

DROPOUT = "draws a new mask at every evaluation, so no equilibrium exists; use eqnets.FixedDropout, or call .eval()."


def check_cell(cell: nn.Module) -> None:
    """Refuse a cell that is not one function of (z, x), sample by sample, during a solve.

    Args:
        cell: the cell, in the mode in which it will be evaluated.

    Raises:
        InputError: names the submodule and the remedy.
    """
    for name, module in cell.named_modules():
        reason = _reason(module)
        if reason:
            where = f"'{name}' of the cell" if name else "the cell"
            raise InputError(f"{where}, {type(module).__name__}, {reason}")


def _reason(module: nn.Module) -> str | None:
    if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
        return (
            "mixes the samples of the batch, and in training updates its statistics once per iteration of the solver; "
            "use LayerNorm or GroupNorm."
        )
    if isinstance(module, _InstanceNorm) and module.training and module.track_running_stats:
        return "updates its statistics once per iteration of the solver; use track_running_stats=False, or GroupNorm."
    if isinstance(module, _DropoutNd) and module.training and module.p > 0:
        return DROPOUT
    if isinstance(module, (nn.MultiheadAttention, nn.RNNBase)) and module.training and module.dropout > 0:
        return DROPOUT.replace("use eqnets.FixedDropout", "set dropout=0 and put an eqnets.FixedDropout after it")
    if isinstance(module, nn.RReLU) and module.training:
        return "draws new slopes at every evaluation, so no equilibrium exists; use LeakyReLU."
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, (SpectralNorm, WeightNorm)):
            kind = "spectral_norm" if isinstance(hook, SpectralNorm) else "weight_norm"
            return f"is normalised by a hook, outside of its parameters; use torch.nn.utils.parametrizations.{kind}."
    return None
