"""The LFR: an LTI system in feedback with a static nonlinearity. Every model of eqnets is one.

    x⁺ = A x  + B1 w  + B2 u + bx
    v  = C1 x + D11 w + D12 u + bv
    w  = φ(v)
    y  = C2 x + D21 w + D22 u + by

In continuous time (`dt=None`) the first line reads ẋ instead of x⁺.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from eqnets.equilibrium import levels
from eqnets.errors import InputError
from eqnets.system import nonlinearity
from eqnets.system.nonlinearity import Activation, Nonlinearity

_ROWS_COLUMNS = {
    "A": ("nx", "nx"), "B1": ("nx", "nv"), "B2": ("nx", "nu"),
    "C1": ("nv", "nx"), "D11": ("nv", "nv"), "D12": ("nv", "nu"),
    "C2": ("ny", "nx"), "D21": ("ny", "nv"), "D22": ("ny", "nu"),
}  # fmt: skip
_BIASES = {"bx": "nx", "bv": "nv", "by": "ny"}
BLOCKS = (*_ROWS_COLUMNS, *_BIASES)
"""The names of the twelve blocks, in the order in which files and digests take them."""


@dataclass(frozen=True, eq=False)
class LFR:
    """A linear fractional representation: blocks, biases, activation, sample time.

    A block that is left out is zero, with the size that the other blocks imply. Lists become float64 tensors; arrays
    and tensors keep their dtype, and all blocks must share one.

    Args:
        A: (nx, nx).
        B1: (nx, nv), from the neurons w to the state.
        B2: (nx, nu), from the input u to the state.
        C1: (nv, nx), from the state to the neurons' arguments v.
        C2: (ny, nx), from the state to the output y.
        D11: (nv, nv), from w to v; strictly lower triangular means acyclic, else w has to be solved for.
        D12: (nv, nu), from u to v.
        D21: (ny, nv), from w to y.
        D22: (ny, nu), from u to y.
        bx: (nx,) state bias.
        bv: (nv,) neuron bias.
        by: (ny,) output bias.
        activation: a name, a `Nonlinearity`, or a sequence of one per neuron.
        dt: the sample time in seconds, or None for continuous time.
        u_names: names of the inputs.
        y_names: names of the outputs.
        u_units: units of the inputs.
        y_units: units of the outputs.

    Raises:
        InputError: a block has the wrong shape, the blocks' dtypes or devices differ, a size cannot be inferred, or dt
            is not positive.
    """

    A: Tensor = None  # type: ignore[assignment]
    B1: Tensor = None  # type: ignore[assignment]
    B2: Tensor = None  # type: ignore[assignment]
    C1: Tensor = None  # type: ignore[assignment]
    C2: Tensor = None  # type: ignore[assignment]
    D11: Tensor = None  # type: ignore[assignment]
    D12: Tensor = None  # type: ignore[assignment]
    D21: Tensor = None  # type: ignore[assignment]
    D22: Tensor = None  # type: ignore[assignment]
    bx: Tensor = None  # type: ignore[assignment]
    bv: Tensor = None  # type: ignore[assignment]
    by: Tensor = None  # type: ignore[assignment]
    activation: Activation = field(default="relu")  # type: ignore[assignment]
    dt: float | None = 1.0
    u_names: tuple[str, ...] | None = None
    y_names: tuple[str, ...] | None = None
    u_units: tuple[str, ...] | None = None
    y_units: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        given = {name: _tensor(name, getattr(self, name)) for name in BLOCKS if getattr(self, name) is not None}
        sizes = _infer_sizes(given)
        like = _common_kind(given)
        for name in BLOCKS:
            shape = _shape(name, sizes)
            block = given.get(name)
            if block is None:
                block = torch.zeros(shape, **like)
            elif tuple(block.shape) != shape:
                raise InputError(
                    f"LFR block {name} has shape {tuple(block.shape)}, but {_shape_words(name)} = {shape} is needed "
                    f"(nx={sizes['nx']}, nv={sizes['nv']}, nu={sizes['nu']}, ny={sizes['ny']} from the other blocks)."
                )
            object.__setattr__(self, name, block)
        activation = nonlinearity.get(self.activation)
        activation.slopes(sizes["nv"])  # one per neuron: the number must agree
        object.__setattr__(self, "activation", activation)
        if self.dt is not None:
            dt = float(self.dt)
            if not 0 < dt < math.inf:
                raise InputError(
                    f"dt must be a positive number of seconds, or None for continuous time; got {self.dt}."
                )
            object.__setattr__(self, "dt", dt)
        for attribute, count in (
            ("u_names", sizes["nu"]), ("y_names", sizes["ny"]), ("u_units", sizes["nu"]), ("y_units", sizes["ny"]),
        ):  # fmt: skip
            labels = getattr(self, attribute)
            if labels is not None:
                labels = (labels,) if isinstance(labels, str) else tuple(str(label) for label in labels)
                if len(labels) != count:
                    raise InputError(f"{attribute} has {len(labels)} entries, but the LFR has {count} such channels.")
                object.__setattr__(self, attribute, labels)

    @property
    def nx(self) -> int:
        """Number of states."""
        return self.A.shape[-1]

    @property
    def nv(self) -> int:
        """Number of neurons."""
        return self.D11.shape[-1]

    @property
    def nu(self) -> int:
        """Number of inputs."""
        return self.D22.shape[-1]

    @property
    def ny(self) -> int:
        """Number of outputs."""
        return self.D22.shape[-2]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that all blocks share."""
        return self.A.dtype

    @property
    def device(self) -> torch.device:
        """The device that all blocks share."""
        return self.A.device

    @property
    def is_acyclic(self) -> bool:
        """Whether D11 is strictly lower triangular, so that w follows by substitution."""
        return not bool(torch.triu(levels.all_values(self.D11)).any())

    def blocks(self) -> dict[str, Tensor]:
        """The twelve blocks by name, in the order of `BLOCKS`."""
        return {name: getattr(self, name) for name in BLOCKS}

    def to(self, *args: Any, **kwargs: Any) -> LFR:
        """The same system with every block moved as by `torch.Tensor.to` (a dtype, a device)."""
        return self.replace(**{name: block.to(*args, **kwargs) for name, block in self.blocks().items()})

    def detach(self) -> LFR:
        """The same system, cut from the autograd graph."""
        return self.replace(**{name: block.detach() for name, block in self.blocks().items()})

    def replace(self, **changes: Any) -> LFR:
        """A copy with the named fields changed (and checked anew)."""
        return replace(self, **changes)

    def digest(self) -> str:
        """The sha256 of the system: every block's name, shape and float64 bits, the activation and dt.

        A float32 block has the digest of its exact float64 value. Names and units are labels and do not enter.
        """  # noqa: DOC201
        sha = hashlib.sha256()
        for name, block in self.blocks().items():
            exact = np.ascontiguousarray(block.detach().to("cpu", torch.float64).numpy(), dtype="<f8")
            sha.update(f"{name}:{','.join(map(str, exact.shape))};".encode())
            sha.update(exact.tobytes())
        sha.update(f"activation:{self.activation.name};dt:{float.hex(self.dt) if self.dt else None}".encode())
        return sha.hexdigest()

    def __repr__(self) -> str:
        time = f"dt={self.dt:g} s" if self.dt else "continuous"
        return (
            f"LFR(nx={self.nx}, nv={self.nv}, nu={self.nu}, ny={self.ny}, "
            f"activation={self.activation.name[:40]}, {time}, {str(self.dtype).removeprefix('torch.')})"
        )


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        tensor = value
    else:
        try:
            array = np.asarray(value)
            kept = array.dtype if array.dtype in (np.float32, np.float64) and hasattr(value, "dtype") else np.float64
            tensor = torch.from_numpy(np.array(array, dtype=kept))
        except (TypeError, ValueError) as error:
            raise InputError(f"LFR block {name} is not a rectangular array of numbers: {error}.") from error
    if not tensor.is_floating_point():
        raise InputError(f"LFR block {name} has dtype {tensor.dtype}; give it in a floating dtype such as float64.")
    if tensor.ndim != (1 if name in _BIASES else 2):
        raise InputError(f"LFR block {name} has {tensor.ndim} axes; a block has 2 (rows, columns), a bias has 1.")
    return tensor


def _infer_sizes(given: dict[str, Tensor]) -> dict[str, int]:
    """The four sizes; the first block that shows a size decides it, and a later one that differs is the error."""
    sizes: dict[str, int] = {}
    for name in ("A", "D11", "D22", "B1", "B2", "C1", "C2", "D12", "D21"):
        if name in given:
            for letter, size in zip(_ROWS_COLUMNS[name], given[name].shape, strict=True):
                sizes.setdefault(letter, size)
    for name, letter in _BIASES.items():
        if name in given:
            sizes.setdefault(letter, given[name].shape[0])
    missing = [s for s in ("nu", "ny") if s not in sizes]
    if missing:
        raise InputError(f"an LFR needs its number of {'inputs' if 'nu' in missing else 'outputs'}; give D22 (ny, nu).")
    return {"nx": 0, "nv": 0, **sizes}


def _common_kind(given: dict[str, Tensor]) -> dict[str, Any]:
    kinds = {(block.dtype, block.device) for block in given.values()}
    if len(kinds) > 1:
        words = ", ".join(f"{name} {block.dtype} on {block.device}" for name, block in given.items())
        raise InputError(f"the blocks of an LFR must share one dtype and one device; got {words}.")
    dtype, device = kinds.pop()
    return {"dtype": dtype, "device": device}


def _shape(name: str, sizes: dict[str, int]) -> tuple[int, ...]:
    letters: Iterable[str] = _ROWS_COLUMNS[name] if name in _ROWS_COLUMNS else (_BIASES[name],)
    return tuple(sizes[letter] for letter in letters)


def _shape_words(name: str) -> str:
    letters: Sequence[str] = _ROWS_COLUMNS[name] if name in _ROWS_COLUMNS else (_BIASES[name],)
    return "(" + ", ".join(letters) + ")"


_LABELS = tuple(f.name for f in fields(LFR) if f.name not in BLOCKS)


def _flatten(lfr: LFR) -> tuple[list[Any], tuple[Any, ...]]:
    return [getattr(lfr, name) for name in BLOCKS], tuple(getattr(lfr, name) for name in _LABELS)


def _unflatten(blocks: Iterable[Any], labels: tuple[Any, ...]) -> LFR:
    lfr = object.__new__(LFR)  # transforms pass placeholders as leaves: nothing to check
    for name, value in [*zip(BLOCKS, blocks, strict=True), *zip(_LABELS, labels, strict=True)]:
        object.__setattr__(lfr, name, value)
    return lfr


pytree.register_pytree_node(LFR, _flatten, _unflatten, serialized_type_name="eqnets.system.lfr.LFR")

__all__ = ["BLOCKS", "LFR", "Nonlinearity"]
