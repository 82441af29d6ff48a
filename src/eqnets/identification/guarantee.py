"""The guarantees that identification can build in, none among them, and how files write them."""

from __future__ import annotations

from typing import Any, Literal

from eqnets.certification import Contracting, Lipschitz

Guarantee = Contracting | Lipschitz
"""What a model can keep by construction."""

Promise = Guarantee | Literal["none"]
"""What may be asked for."""

NOTHING = "No guarantee was asked for; nothing is certified of this model, not even stability."


def guarantee_to_json(guarantee: Promise) -> dict[str, Any]:
    """A guarantee as what JSON can hold."""
    if guarantee == "none":
        return {"kind": "none"}
    if isinstance(guarantee, Contracting):
        return {"kind": "contracting", "rate": guarantee.rate}
    scales = {k: None if getattr(guarantee, k) is None else list(getattr(guarantee, k)) for k in ("u_scale", "y_scale")}
    return {"kind": "lipschitz", "gamma": guarantee.gamma, **scales}


def guarantee_from_json(value: dict[str, Any]) -> Promise:
    """The guarantee that `guarantee_to_json` wrote; KeyError or TypeError where it is garbled."""
    options = {k: v for k, v in value.items() if k != "kind"}
    kinds = {"contracting": Contracting, "lipschitz": Lipschitz, "none": _none}
    return kinds[value["kind"]](**options)


def _none() -> Literal["none"]:
    return "none"
