"""The guarantees that identification can build in, and how files write them."""

from __future__ import annotations

from typing import Any

from eqnets.certification import Contracting, Lipschitz

Guarantee = Contracting | Lipschitz


def guarantee_to_json(guarantee: Guarantee) -> dict[str, Any]:
    """A guarantee as what JSON can hold."""
    if isinstance(guarantee, Contracting):
        return {"kind": "contracting", "rate": guarantee.rate}
    scales = {k: None if getattr(guarantee, k) is None else list(getattr(guarantee, k)) for k in ("u_scale", "y_scale")}
    return {"kind": "lipschitz", "gamma": guarantee.gamma, **scales}


def guarantee_from_json(value: dict[str, Any]) -> Guarantee:
    """The guarantee that `guarantee_to_json` wrote; KeyError or TypeError where it is garbled."""
    options = {k: v for k, v in value.items() if k != "kind"}
    return {"contracting": Contracting, "lipschitz": Lipschitz}[value["kind"]](**options)
