"""What the compiled kernels share: numbers for the nonlinearities, sizes of an LFR's blocks, the length of a row."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eqnets.system.nonlinearity import Activation

CODES = {
    "relu": 0, "tanh": 1, "leaky_relu": 2, "softplus": 3, "sigmoid": 4, "identity": 5, "sine_defect": 6, "hardtanh": 7,
    "elu": 8, "softshrink": 9, "selu": 10, "gelu": 11, "silu": 12, "mish": 13,
}  # fmt: skip
NEEDS_ARGUMENT = {"sine_defect", "gelu", "silu", "mish"}
"""Those whose derivative does not follow from their value."""


def known(activation: Activation) -> bool:
    """Whether every neuron's nonlinearity is one that the compiled kernels have."""
    return all(part.name.partition("(")[0] in CODES for part in activation.parts)


def needs_argument(activation: Activation) -> bool:
    """Whether some neuron's φ'(v) cannot be had from φ(v)."""
    return any(part.name in NEEDS_ARGUMENT for part in activation.parts)


def of(activation: Activation, nv: int) -> tuple[list[str], list[int], list[float]]:
    """The name and code of each neuron's nonlinearity, and the number that stands in the name."""
    split = [part.name.removesuffix(")").partition("(") for part in activation.each(nv)]
    names = [name for name, _, _ in split]
    return names, [CODES[name] for name in names], [float(number or 0) for _, _, number in split]


def sizes(blocks: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """nx, nv, nu, ny of an LFR's blocks in the order of `BLOCKS`."""
    A, D11, D22 = blocks[0], blocks[4], blocks[8]
    return A.shape[0], D11.shape[0], D22.shape[1], D22.shape[0]


def row(blocks: Sequence[Tensor]) -> int:
    """The length of a row [x; u; 1; w], padded to whole vectors (as ROW in rollout.c)."""
    nx, nv, nu, _ = sizes(blocks)
    return (nx + nu + 1 + nv + 15) // 16 * 16
