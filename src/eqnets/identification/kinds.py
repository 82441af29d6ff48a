"""The models that `identify` knows by name, what each can promise, and how each begins near the linear model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eqnets.certification import Contracting, Lipschitz
from eqnets.errors import InputError
from eqnets.identification.guarantee import Guarantee, Promise, supply_of
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.order import Linear
from eqnets.models import (
    GRU,
    LSTM,
    RNN,
    ContractingREN,
    DissipativeREN,
    FreeREN,
    LipschitzREN,
    NeuralODE,
    lower_gain,
    shrink,
)
from eqnets.system import nonlinearity
from eqnets.system.witness import Supply


@dataclass(frozen=True)
class Kind:
    """One model by name.

    Args:
        title: in words.
        promises: whether it can keep a guarantee by construction.
        states: whether it has a number of states of its own; else its hidden units are the states.
        neurons: whether it has neurons.
        activation: whether they may be chosen.
        fused: whether a rollout is one compiled loop. Else a step costs a hundred times as much: short records are cut
            into streams that train side by side, and fewer starts share the time.
        learning_rate: of Adam on short records; higher for what begins at random.
    """

    title: str
    promises: bool = False
    states: bool = False
    neurons: bool = True
    activation: bool = False
    fused: bool = True
    learning_rate: float = 3e-3


KINDS = {
    "ren": Kind("REN", promises=True, states=True, activation=True),
    "linear": Kind("linear model", promises=True, states=True, neurons=False),
    "rnn": Kind("RNN", learning_rate=1e-2),
    "gru": Kind("GRU", fused=False, learning_rate=1e-2),
    "lstm": Kind("LSTM", fused=False, learning_rate=1e-2),
    "neural_ode": Kind("neural ODE", states=True, fused=False),
}
"""By the name that `identify` and `eqnets fit --model` take."""


def settle(
    model: str, guarantee: Promise | None, nx: int | None, nv: int | str | None, activation: str | None
) -> Promise:
    """What the model is to promise; a combination that cannot be is refused before any time is spent.

    Args:
        model: a key of `KINDS`.
        guarantee: what was asked for; None is the strongest default: contraction where it can be had, else "none".
        nx: the number of states that was asked for.
        nv: the number of neurons that was asked for, or "auto".
        activation: the activation that was asked for.

    Returns:
        The guarantee.

    Raises:
        InputError: there is no such model or guarantee, or the model does not take one of the options.
    """
    if model not in KINDS:
        raise InputError(f"there is no model '{model}'; choose one of {', '.join(KINDS)}.")
    kind = KINDS[model]
    if guarantee is None:
        guarantee = Contracting() if kind.promises else "none"
    if guarantee != "none" and not isinstance(guarantee, Guarantee):
        raise InputError(
            "identify can promise Contracting(rate), Lipschitz(gamma), Dissipative(Q, S, R), Passive(...) or 'none', "
            f"not {guarantee!r}."
        )
    if guarantee != "none" and not kind.promises:
        raise InputError(f"a {kind.title} promises nothing by construction; ask for guarantee='none', or model='ren'.")
    if nx is not None and not kind.states:
        raise InputError(f"the states of a {kind.title} are its hidden units; leave nx out and give nv.")
    if nv and not kind.neurons:
        raise InputError(f"a {kind.title} has no neurons; leave nv out.")
    if activation is not None and not kind.activation:
        raise InputError(f"a {kind.title} has an activation of its own, or none; leave activation out.")
    if activation is not None:
        nonlinearity.get(activation)  # one that there is not is refused here
    return guarantee


def begin(
    model: str, guarantee: Promise, normaliser: Normaliser, linear: Linear, nv: int, activation: str, seed: int,
    warm: tuple[nn.Module, Tensor] | None = None,
) -> tuple[nn.Module, Tensor, list[str]]:  # fmt: skip
    """A model to train, float64, between normalised signals.

    REN, linear model and neural ODE begin at the linear model, or near it; the others at random, as is their custom.
    Without a guarantee a REN begins at the very system that it would begin at with contraction, as a `FreeREN`.

    Args:
        model: a key of `KINDS`.
        guarantee: of `settle`, in physical units.
        normaliser: of the signals.
        linear: the linear model.
        nv: number of neurons, hidden units, or width of the hidden layer.
        activation: of a REN.
        seed: of every random number.
        warm: a trained `LipschitzREN` and the records' initial states, to begin at instead, under another gain bound.

    Returns:
        The model, the records' initial states (record, nx), and what a user must read.

    Raises:
        InputError: hidden units are needed, and nv is 0; or the warm start is not one.
    """
    if warm is not None:
        if not (isinstance(warm[0], LipschitzREN) and isinstance(guarantee, Lipschitz)):
            raise InputError("a warm start goes from one gain bound to another; fit both with eqnets.Lipschitz(gamma).")
        return lower_gain(warm[0], _normalised_gamma(guarantee, normaliser)), warm[1].clone(), []
    generator = torch.Generator().manual_seed(seed)
    lti = linear.lti
    if model in ("ren", "linear"):
        neurons = nv if KINDS[model].neurons else 0
        network, notes = _ren(guarantee, normaliser, linear, neurons, activation, generator)
        return network, linear.x0, notes
    if nv < 1:
        raise InputError(f"a {KINDS[model].title} needs at least one hidden unit; got nv={nv}.")
    if model == "neural_ode":
        return NeuralODE.from_linear(lti, nv, generator=generator), linear.x0, []
    cls = {"rnn": RNN, "gru": GRU, "lstm": LSTM}[model]
    network = cls(lti.nu, nv, lti.ny, generator=generator, dtype=torch.float64, dt=lti.dt)
    states = network.nx if isinstance(network, LSTM) else nv
    return network, torch.zeros(len(linear.x0), states, dtype=torch.float64), []


def _ren(
    guarantee: Promise, normaliser: Normaliser, linear: Linear, nv: int, activation: str, generator: torch.Generator
) -> tuple[nn.Module, list[str]]:
    """The REN that holds the linear model exactly, or the nearest one that keeps the promise, and what that cost."""
    options: dict[str, Any] = {
        "rate": guarantee.rate if isinstance(guarantee, Contracting) else 1.0, "activation": activation,
        "generator": generator, "x_scale": torch.diagonal(linear.prior.covariance).sqrt(),
    }  # fmt: skip
    gamma = _normalised_gamma(guarantee, normaliser) if isinstance(guarantee, Lipschitz) else None
    supply = _normalised_supply(guarantee, normaliser)
    # a supply is kept with a wider margin: its storage is worse conditioned than that of a gain bound
    inside, cost = shrink(
        linear.lti, rate=options["rate"], gamma=gamma, supply=supply, margin=1e-3 if supply is None else 1e-2
    )
    notes = []
    if cost > 0 and guarantee != "none":
        notes.append(
            "The linear start does not keep the guarantee; training began from a simple one near it that does, at an H∞ "  # noqa: E501
            f"distance of {cost:.3g} (normalised)."
        )
    if gamma is not None:
        return LipschitzREN.from_linear(inside, nv, gamma=gamma, **options), notes
    if supply is not None:
        return DissipativeREN.from_linear(inside, nv, Q=supply.Q, S=supply.S, R=supply.R, **options), notes
    start = ContractingREN.from_linear(inside, nv, **options)
    return start if guarantee != "none" else FreeREN.from_lfr(start.explicit().detach()), notes


def _normalised_gamma(guarantee: Lipschitz, normaliser: Normaliser) -> float:
    """γ between normalised signals: their scales are one factor times the claim's, so that it carries over exactly."""
    factors = [
        float(size[0]) / (1.0 if claimed is None else float(np.ravel(claimed)[0]))
        for size, claimed in ((normaliser.u_scale, guarantee.u_scale), (normaliser.y_scale, guarantee.y_scale))
    ]
    return guarantee.gamma * factors[0] / factors[1]


def _normalised_supply(guarantee: Promise, normaliser: Normaliser) -> Supply | None:
    """The guarantee's supply in normalised signals: Δu = S_u Δu_n and Δy = S_y Δy_n are put into its form."""
    supply = supply_of(guarantee, len(normaliser.u_scale), len(normaliser.y_scale))
    if supply is None:
        return None
    u, y = (torch.from_numpy(scale.copy()) for scale in (normaliser.u_scale, normaliser.y_scale))
    return Supply(supply.Q * torch.outer(y, y), supply.S * torch.outer(u, y), supply.R * torch.outer(u, u))
