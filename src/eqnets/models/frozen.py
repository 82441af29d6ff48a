"""A cell as it stands during one solve: the same function at every evaluation, forward and backward.

Parametrised weights (torch.nn.utils.parametrizations) are evaluated once, and dropout masks are drawn once. To that end
the modules concerned get a twin that shares everything else with them; the cell itself is not touched, so that nothing
has to be reset, nothing goes stale, and threads do not meet. Parameters and buffers become explicit arguments:
torch.func can differentiate them, and a later evaluation (in a double backward, say) uses the tensors of this solve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from eqnets.errors import InputError
from eqnets.models.dropout import FixedDropout, Held


class Frozen:
    """f(z, x, *tensors) for one solve.

    Args:
        cell: a module or any callable, cell(z, x) → z.

    Raises:
        InputError: what has to be frozen lies inside a compiled module.
    """  # noqa: DOC502

    def __init__(self, cell: Callable[..., Any]) -> None:
        self.cell = freeze(cell, {}) if isinstance(cell, nn.Module) else cell
        self.held: list[Held] = []
        self.places: list[tuple[dict[str, Any], str]] = []
        self.names: list[str] = []
        self.tensors: list[Tensor] = []
        if isinstance(self.cell, nn.Module):
            self._gather(self.cell)

    def _gather(self, cell: nn.Module) -> None:
        seen: set[int] = set()
        for prefix, module in cell.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # it cannot be called with other parameters; they are captured, as a function's would be
            if isinstance(module, Held):
                self.held.append(module)
            for owner in (module._parameters, module._buffers):
                for key, tensor in owner.items():
                    if tensor is not None and id(tensor) not in seen:
                        seen.add(id(tensor))
                        self.places.append((owner, key))
                        self.names.append(f"{prefix}.{key}" if prefix else key)
                        self.tensors.append(tensor)

    def __call__(self, z: Any, x: Any, *tensors: Tensor) -> Any:
        """One evaluation.

        Args:
            z: the state.
            x: the input.
            tensors: in the order of `self.tensors`.

        Returns:
            The next state.
        """
        for held in self.held:
            held.call = 0
        for (owner, key), tensor in zip(self.places, tensors, strict=True):
            if owner.get(key) is not tensor:  # somebody differentiates, or has replaced a parameter since
                lifted = dict(zip(self.names, tensors, strict=True))
                return torch.func.functional_call(self.cell, lifted, (z, x))  # type: ignore[arg-type]
        return self.cell(z, x)


def freeze(module: nn.Module, memo: dict[int, nn.Module]) -> nn.Module:
    """The module with parametrised weights evaluated and dropout masks held; itself, where it has none.

    Args:
        module: not changed.
        memo: what has been frozen, by id: a module used twice stays one module.

    Returns:
        The module, or a twin that shares with it what did not have to change.

    Raises:
        InputError: what has to be frozen lies inside a compiled module.
    """  # noqa: DOC502
    if id(module) in memo:
        return memo[id(module)]
    if hasattr(module, "_orig_mod") or isinstance(module, torch.jit.ScriptModule):
        _check_compiled(module)
        frozen = module
    elif isinstance(module, FixedDropout):
        frozen = Held(module) if module.active else module
    elif isinstance(module, Held):
        frozen = module  # an outer solve holds it
    else:
        frozen = _twin(module, memo)
    memo[id(module)] = frozen
    return frozen


def _twin(module: nn.Module, memo: dict[int, nn.Module]) -> nn.Module:
    children, buffers, kind = dict(module._modules), dict(module._buffers), type(module)
    if parametrize.is_parametrized(module):
        kind = parametrize.type_before_parametrizations(module)
        buffers.update({name: getattr(module, name) for name in children.pop("parametrizations")})  # type: ignore[union-attr]
    frozen = {name: child if child is None else freeze(child, memo) for name, child in children.items()}
    if kind is type(module) and all(frozen[name] is children[name] for name in children):
        return module
    twin: nn.Module = object.__new__(kind)
    state = {**module.__dict__, "_modules": frozen, "_buffers": buffers, "_parameters": dict(module._parameters)}
    twin.__dict__.update(state)
    return twin


def _check_compiled(module: nn.Module) -> None:
    for name, part in module.named_modules():
        if isinstance(part, FixedDropout) and part.active:
            what = "FixedDropout, whose masks a solve must hold"
        elif isinstance(part, _SpectralNorm) and part.training:
            what = "spectral_norm in train mode, which changes at every evaluation"
        else:
            continue
        name = name.replace("_orig_mod.", "")
        raise InputError(f"'{name}' is {what}, but it is compiled; compile the submodules without it, or call .eval().")
