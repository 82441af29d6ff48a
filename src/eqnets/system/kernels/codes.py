"""What the compiled kernels share: numbers for the nonlinearities, sizes of an LFR's blocks, the length of a row."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from eqnets.system.nonlinearity import Activation, PerNeuron

CODES = {"relu": 0, "tanh": 1, "leaky_relu": 2, "softplus": 3, "sigmoid": 4, "identity": 5, "sine_defect": 6}


def known(activation: Activation) -> bool:
    """Whether every neuron's nonlinearity is one that the compiled kernels have."""
    parts = activation.parts if isinstance(activation, PerNeuron) else (activation,)
    return all(part.name.partition("(")[0] in CODES for part in parts)


def of(activation: Activation, nv: int) -> tuple[list[str], list[int], list[float]]:
    """The name, number and left slope of each neuron's nonlinearity."""
    parts = activation.parts if isinstance(activation, PerNeuron) else (activation,) * nv
    names = [part.name.partition("(")[0] for part in parts]
    return names, [CODES[name] for name in names], [part.slope[0] for part in parts]


def sizes(blocks: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """nx, nv, nu, ny of an LFR's blocks in the order of `BLOCKS`."""
    A, D11, D22 = blocks[0], blocks[4], blocks[8]
    return A.shape[0], D11.shape[0], D22.shape[1], D22.shape[0]


def row(blocks: Sequence[Tensor]) -> int:
    """The length of a row [x; u; 1; w], padded to whole vectors (as ROW in rollout.c)."""
    nx, nv, nu, _ = sizes(blocks)
    return (nx + nu + 1 + nv + 15) // 16 * 16
