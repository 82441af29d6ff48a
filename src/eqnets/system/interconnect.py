"""Wiring by names: systems, what enters each of their inputs, and what is seen from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.system.connect import System, append, as_lfr, connect
from eqnets.system.lfr import LFR

Sum = str | Sequence[str] | Mapping[str, float]


def interconnect(
    systems: Mapping[str, System],
    connections: Mapping[str, Sum],
    inputs: Sequence[str],
    outputs: Sequence[str] | Mapping[str, Sum],
) -> LFR:
    """One LFR of several systems and named wires.

        eq.interconnect(
            {"tank": model, "pi": controller},
            {"pi.error": ["level", "-tank.y1"], "tank.u1": "pi.y1"},
            inputs=["level"], outputs=["tank.y1", "pi.y1"],
        )

    Args:
        systems: LFRs or LTIs by name. Their channels are "name.channel", with the channel's own name, or u1, u2, …, y1,
            y2, … where none was given.
        connections: for each input of a system what enters it: one signal, a list of signals to add (with a "-" before
            a name to subtract it), or signals with their factors. A signal is an output of a system, or an outer input.
        inputs: the outer inputs. The name of a system's input stands for a signal that enters that input alone.
        outputs: the signals to look at: outputs of systems, inputs of systems, outer inputs; or new names with sums of
            signals.

    Returns:
        The LFR, with the systems' states and neurons in their order, and `inputs` and `outputs` as names. Units follow
        the wires; one that a factor other than ±1 touches is unknown, and if any is, none are stated.

    Raises:
        InputError: an unknown signal, an input that nothing enters, an outer input that enters nothing, signals of
            different units in one sum, different sample times, or a loop that is not well posed, see
            `eqnets.system.connect.connect`.
    """  # noqa: D214, D405, DOC502
    parts = {name: as_lfr(system) for name, system in systems.items()}
    whole = append(*parts.values())
    ports, port_units = _channels(parts, "u")
    signals, signal_units = _channels(parts, "y")
    outer = tuple(inputs)
    _check_names(outer, signals, ports)
    unknown = [port for port in connections if port not in ports]
    if unknown:
        raise InputError(f"there is no input {unknown[0]} to connect; the inputs are: {', '.join(ports) or 'none'}.")
    wires = {name: {name: 1.0} for name in outer if name in ports and name not in connections}
    wires |= {port: _terms(port, total, [*signals, *outer]) for port, total in connections.items()}
    idle = [name for name in outer if not any(name in wire for wire in wires.values())]
    if idle:
        raise InputError(f"the outer input {idle[0]} enters nothing; connect it, or leave it out.")
    units: dict[str, str | None] = dict(zip(ports, port_units, strict=True)) | dict(
        zip(signals, signal_units, strict=True)
    )
    units |= _outer_units(outer, wires, dict(zip(ports, port_units, strict=True)))
    for port, unit in zip(ports, port_units, strict=True):
        if port not in wires:
            raise InputError(f"nothing enters {port}; connect it, or list it among the inputs.")
        _check_units(port, unit, wires[port], units)
    seen = outputs if isinstance(outputs, Mapping) else {name: name for name in outputs}
    looks = {name: _terms(name, total, [*signals, *outer, *ports]) for name, total in seen.items()}
    for name, wire in looks.items():
        _check_units(name, None, wire, units)
    like = whole.D22
    inside = [wires[port] for port in ports]
    K, L = _matrix(inside, signals, like), _matrix(inside, outer, like)
    through = _matrix(looks.values(), ports, like, skip=[*signals, *outer])  # a port is what enters it: K y + L r
    M, N = _matrix(looks.values(), signals, like) + through @ K, _matrix(looks.values(), outer, like) + through @ L
    return connect(
        whole, K, L, M, N, u_names=outer, y_names=tuple(looks),
        u_units=_all_known(units[name] for name in outer),
        y_units=_all_known(_unit(wire, units) for wire in looks.values()),
    )  # fmt: skip


def _channels(parts: Mapping[str, LFR], side: str) -> tuple[list[str], list[str | None]]:
    """The full names and units of all inputs (side "u") or outputs ("y")."""
    names: list[str] = []
    units: list[str | None] = []
    for part_name, part in parts.items():
        count = part.nu if side == "u" else part.ny
        own = getattr(part, f"{side}_names") or [f"{side}{i + 1}" for i in range(count)]
        names += [f"{part_name}.{channel}" for channel in own]
        units += getattr(part, f"{side}_units") or [None] * count
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the channel {twice[0]} exists twice; give the channels of a system different names.")
    return names, units


def _check_names(outer: tuple[str, ...], signals: list[str], ports: list[str]) -> None:
    if len(set(outer)) < len(outer):
        raise InputError(f"an outer input is named twice: {', '.join(outer)}.")
    clash = [name for name in outer if name in signals and name not in ports]
    if clash:
        raise InputError(f"the outer input {clash[0]} has the name of a system's output; choose another name.")


def _outer_units(
    outer: tuple[str, ...], wires: Mapping[str, dict[str, float]], ports: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The unit of an outer input: that of the first input with a unit which it enters with the factor ±1."""
    entered = {name: [ports[port] for port, wire in wires.items() if abs(wire.get(name, 0)) == 1] for name in outer}
    return {name: next((unit for unit in found if unit), None) for name, found in entered.items()}


def _terms(port: str, total: Sum, names: Sequence[str]) -> dict[str, float]:
    """The signals that are added up, with their factors."""
    if isinstance(total, Mapping):
        terms = {str(name): float(factor) for name, factor in total.items()}
    else:
        terms = {}
        for text in [total] if isinstance(total, str) else total:
            negative = text.startswith("-") and text not in names
            name = text[1:].strip() if negative else text
            terms[name] = terms.get(name, 0.0) + (-1.0 if negative else 1.0)
    for name in terms:
        if name not in names:
            raise InputError(f"{port}: there is no signal {name}; the signals are: {', '.join(names)}.")
    return terms


def _check_units(port: str, unit: str | None, wire: dict[str, float], units: Mapping[str, str | None]) -> None:
    """All units in one sum agree; a factor other than ±1 may carry a unit of its own and is not looked at."""
    found = {port: unit} | {name: units[name] for name, factor in wire.items() if abs(factor) == 1}
    stated = {name: one for name, one in found.items() if one is not None}
    if len(set(stated.values())) > 1:
        words = ", ".join(f"{name} [{one}]" for name, one in stated.items())
        raise InputError(
            f"{port}: signals of different units are added: {words}. Give the converting factor, or rename."
        )


def _unit(wire: dict[str, float], units: Mapping[str, str | None]) -> str | None:
    """The unit of a sum; None where a factor or a missing unit leaves it open."""
    own = {units[name] if abs(factor) == 1 else None for name, factor in wire.items()}
    return own.pop() if len(own) == 1 else None


def _all_known(units: Iterable[str | None]) -> tuple[str, ...] | None:
    listed = list(units)
    stated = tuple(unit for unit in listed if unit is not None)
    return stated if len(stated) == len(listed) else None


def _matrix(
    wires: Iterable[dict[str, float]], columns: Sequence[str], like: Tensor, skip: Sequence[str] = ()
) -> Tensor:
    rows = [[0.0 if name in skip else wire.get(name, 0.0) for name in columns] for wire in wires]
    return torch.tensor(rows, dtype=like.dtype, device=like.device).reshape(len(rows), len(columns))


__all__ = ["interconnect"]
