"""The guarantees that identification can build in, none among them, and how files write them."""

from __future__ import annotations

from typing import Any, Literal

from eqnets.certification import Contracting, Dissipative, Lipschitz, Passive
from eqnets.models.supply import admitted, passive_supply
from eqnets.system.witness import Supply

Guarantee = Contracting | Lipschitz | Dissipative | Passive
"""What a model can keep by construction."""

Promise = Guarantee | Literal["none"]
"""What may be asked for."""

NOTHING = "No guarantee was asked for; nothing is certified of this model, not even stability."


def supply_of(guarantee: Promise, nu: int, ny: int) -> Supply | None:
    """The supply that a dissipative or passive model keeps, in the guarantee's own units; None for the others.

    Args:
        guarantee: what was asked for.
        nu: number of inputs.
        ny: number of outputs.

    Returns:
        The supply, float64.

    Raises:
        InputError: it does not fit the channels, or no model keeps it by construction.
    """  # noqa: DOC502
    if isinstance(guarantee, Dissipative):
        return admitted(guarantee.Q, guarantee.S, guarantee.R, nu, ny)
    if isinstance(guarantee, Passive):
        return passive_supply(nu, ny, guarantee.input_strict, guarantee.output_strict)
    return None


def guarantee_to_json(guarantee: Promise) -> dict[str, Any]:
    """A guarantee as what JSON can hold."""
    match guarantee:
        case Contracting():
            return {"kind": "contracting", "rate": guarantee.rate}
        case Lipschitz():
            scales = {name: getattr(guarantee, name) for name in ("u_scale", "y_scale")}
            scales = {name: None if scale is None else list(scale) for name, scale in scales.items()}
            return {"kind": "lipschitz", "gamma": guarantee.gamma, **scales}
        case Dissipative():
            return {"kind": "dissipative", **{name: [list(row) for row in getattr(guarantee, name)] for name in "QSR"}}
        case Passive():
            strict = {name: getattr(guarantee, name) for name in ("input_strict", "output_strict")}
            return {"kind": "passive", **strict}
    return {"kind": "none"}


def guarantee_from_json(value: dict[str, Any]) -> Promise:
    """The guarantee that `guarantee_to_json` wrote; KeyError or TypeError where it is garbled."""
    options = {k: v for k, v in value.items() if k != "kind"}
    kinds = {
        "contracting": Contracting, "lipschitz": Lipschitz, "dissipative": Dissipative, "passive": Passive,
        "none": _none,
    }  # fmt: skip
    return kinds[value["kind"]](**options)


def _none() -> Literal["none"]:
    return "none"
