"""Every feed-forward network is a weight-tied one with input injection, and the equilibrium of one layer.

Bai, Kolter, Koltun, "Deep equilibrium models", NeurIPS 2019, theorem on the universality of weight-tied networks: with
z = (z¹, …, z^L) the layers side by side, one application of

    f(z, x) = σ(W z + U x + b),  W = lower shift of (W², …, W^L),  U = (W¹; 0; …; 0),  b = (b¹; …; b^L)

computes every layer from the one before it. After L applications from any start each block holds its layer's output
and stays: W is nilpotent, so that this is the only equilibrium, and exact.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from eqnets.errors import InputError

ELEMENTWISE = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Tanh, nn.Sigmoid, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink,
    nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Threshold,
)  # fmt: skip


class WeightTied(nn.Module):
    """f(z, x) = σ(W z + U x + b) of the theorem, applied block by block (the zero blocks cost nothing).

    Args:
        linears: the layers, shared with the network they come from.
        activations: σ of each layer.
    """

    def __init__(self, linears: list[nn.Linear], activations: list[nn.Module]) -> None:
        super().__init__()
        self.linears, self.activations = nn.ModuleList(linears), nn.ModuleList(activations)

    @property
    def widths(self) -> list[int]:
        """Neurons of each layer."""
        return [int(linear.out_features) for linear in self.linears]  # type: ignore[arg-type]

    @property
    def features(self) -> int:
        """Neurons of all layers: the size of z."""
        return sum(self.widths)

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.linears)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """One application of all layers at once.

        Args:
            z: (batch, features).
            x: (batch, inputs).

        Returns:
            (batch, features).
        """
        below = [x, *z.split(self.widths, dim=-1)[:-1]]
        layers = zip(self.linears, self.activations, below, strict=True)
        return torch.cat([activation(linear(part)) for linear, activation, part in layers], dim=-1)

    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """The dense matrices of the theorem, differentiable.

        Returns:
            W (features, features), strictly lower block triangular; U (features, inputs); b (features,).
        """
        linears: Any = list(self.linears)
        first, n = linears[0].weight, self.features
        W, U, b = first.new_zeros(n, n), first.new_zeros(n, first.shape[1]), first.new_zeros(n)
        row, column = 0, 0
        for k, linear in enumerate(linears):
            rows = slice(row, row + linear.out_features)
            if k == 0:
                U[rows] = linear.weight
            else:
                W[rows, column : column + linear.in_features] = linear.weight
                column += linear.in_features
            if linear.bias is not None:
                b[rows] = linear.bias
            row = rows.stop
        return W, U, b


class LastBlock(nn.Module):
    """The readout: the neurons of the last layer.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, z: Tensor) -> Tensor:
        """The last `size` features of z."""
        return z[..., z.shape[-1] - self.size :]


def weight_tied(mlp: nn.Sequential) -> tuple[WeightTied, LastBlock]:
    """The weight-tied, input-injected network that equals a feed-forward one.

    `readout(FiniteDepth(cell, cell.features, cell.depth)(x))` and `readout(DEQ(cell, cell.features)(x))` both equal
    `mlp(x)`, with its gradients: the cell shares the parameters of `mlp` (deepcopy the mlp first to part them).

    Args:
        mlp: nn.Sequential of nn.Linear and elementwise activations, of any widths; it starts with a Linear.

    Returns:
        cell (z, x) → z, and readout z → y.

    Raises:
        InputError: another module, a module that is not elementwise, or widths that do not fit.
    """
    if not isinstance(mlp, nn.Sequential):
        raise InputError(
            f"weight_tied takes an nn.Sequential of Linear and elementwise activations; got {type(mlp).__name__}."
        )
    linears: list[nn.Linear] = []
    activations: list[list[nn.Module]] = []
    for name, module in mlp._modules.items():  # named_children() would skip an activation that is used twice
        if isinstance(module, nn.Linear):
            if linears and module.in_features != linears[-1].out_features:
                raise InputError(
                    f"layer '{name}' takes {module.in_features} features but gets {linears[-1].out_features}; "
                    "the widths of successive layers must fit."
                )
            linears.append(module)
            activations.append([])
        elif not isinstance(module, ELEMENTWISE):
            raise InputError(
                f"layer '{name}', {type(module).__name__}, is neither Linear nor a known elementwise activation, so "
                "the network has no weight-tied form here; take it out, or put it before or after the DEQ."
            )
        elif not linears:
            raise InputError(f"layer '{name}' comes before the first Linear; apply it to x outside of the network.")
        else:
            activations[-1].append(module)
    if not linears:
        raise InputError("the network has no Linear layer, so that there is nothing to tie.")
    chains = [chain[0] if len(chain) == 1 else nn.Sequential(*chain) for chain in activations]
    return WeightTied(linears, chains), LastBlock(linears[-1].out_features)
