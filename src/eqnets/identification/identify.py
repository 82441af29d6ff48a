"""The verb `identify`: measured records in, a certified model out; or a compared one, by the same steps."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from eqnets.certification import Lipschitz
from eqnets.errors import InputError
from eqnets.identification.data import Data
from eqnets.identification.delay import (
    Delay,
    delayed,
    settle_delay,
    undelayed,
    with_registers,
)
from eqnets.identification.dynamics import Physical, System, lfr_of
from eqnets.identification.fit import Fit
from eqnets.identification.guarantee import NOTHING, Promise, supply_of
from eqnets.identification.identified import Identified
from eqnets.identification.initial_state import Prior
from eqnets.identification.integrator import slowest_poles
from eqnets.identification.kinds import KINDS, settle
from eqnets.identification.moments import moments
from eqnets.identification.normaliser import Normaliser, refuse_sizes
from eqnets.identification.order import LONG
from eqnets.identification.plan import Plan
from eqnets.identification.progress import Progress, tell
from eqnets.identification.proved import certify_model
from eqnets.identification.provenance import describe_data, environment
from eqnets.identification.readers import read
from eqnets.identification.restarts import search
from eqnets.identification.schedule import Keeper
from eqnets.identification.size import widths
from eqnets.models import BlackBox
from eqnets.system.lfr import LFR
from eqnets.system.scale import fold


def identify(
    data: Data | Sequence[tuple[np.ndarray, np.ndarray]],
    guarantee: Promise | None = None,
    *,
    model: str = "ren",
    nx: int | None = None,
    nv: int | str | None = None,
    minutes: float = 5.0,
    steps: int | None = None,
    seed: int = 0,
    activation: str | None = None,
    val: float = 0.2,
    restarts: int | None = None,
    workers: int = 1,
    refit: bool | None = None,
    learning_rate: float | None = None,
    warm: Fit | None = None,
    integrator: str = "refuse",
    delay: Delay = 0,
    dt: float | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> Fit:
    """Identify a model that keeps a guarantee by construction, train it on its simulation error, and certify it.

    The records' heads train, their contiguous tails validate: they choose the linear order, the random start, and the
    step at which training stops. Signals are normalised by constants of the training part, and folded back once, into
    `fit.lfr`. Compared models are normalised, trained, chosen and scored by the same steps; nothing is certified of
    them.

    Args:
        data: the training records, as `eqnets.Data`, or pairs (u, y) of arrays (time, channel) with `dt`.
        guarantee: `Contracting(rate)`, `Lipschitz(gamma, u_scale, y_scale)`, `Dissipative(Q, S, R)` with Q ≼ 0 or
            `Passive(input_strict, output_strict)`, in physical units, or "none": then nothing is certified and
            `fit.certificate` is None. None is contraction of rate 1 where the model can promise it, and else "none".
        model: "ren"; "linear", the linear start under the same promise (a REN without neurons); or one that promises
            nothing: "rnn", "gru", "lstm", "neural_ode". With guarantee "none" the REN is an `eqnets.FreeREN`: it
            begins at the same system, and every block of its LFR is free.
        nx: number of states; None chooses the linear model's order on the validation tails, and for long records, by
            short trials, up to four more. Not for rnn, gru and lstm.
        nv: number of neurons, hidden units, or the width of the hidden layer; None takes 20 for short records, 60 for
            long ones. "auto" tries a quarter, a half, one and two times as many, each for a tenth of the updates of a
            start and from the same linear model, and takes the least number within 2 % of the best validation error;
            the trials share the time, and their curve is `fit.settings["neuron_curve"]`.
        minutes: time to spend in all; turned into numbers of steps in the first seconds, which a resumed run follows.
        steps: number of steps of every start instead, a second-order finish among them where records are long or have
            five measured values a free parameter; the run is then the same every time.
        seed: of every random choice.
        activation: of a REN: a name with slopes within [0, 1]; None is tanh.
        val: the share of every record that is its validation tail.
        restarts: how many random starts share the time; the validation tails choose one. None: 6 for short records
            (where nx is left open, with up to two more states than the linear model), 1 for long ones. The linear model
            begins without chance: one start an order; GRU, LSTM and neural ODE, whose steps cost most, have 2.
        workers: how many processes share the starts; with `steps`, their number changes nothing in the result.
        refit: train the chosen start once more, on the heads and the tails together, for as many steps as were best;
            its certificate is its own, its validation error is that of the choice. None: for short records.
        learning_rate: of Adam; None is 1e-3 for long records and 3e-3 for short ones (1e-2 for RNN, GRU and LSTM, which
            begin at random). A REN's parameters move by units of their own, or all alike, whichever gets further in a
            short training (`fit.settings["unit_curve"]`); in units the rate is half of it. For short records they
            always have units, and the rate is ten times as high.
        warm: a fit of the same records under another gain bound: training begins at its model, with the outputs scaled
            so that it keeps this one; `nx` and `nv` are its own. For `Lipschitz` guarantees; see `eqnets.trade_off`.
        integrator: "refuse" to fit a model that forgets to an output that integrates its inputs (by a test, see
            `integrator`), or "ignore" the test, which is not made where no guarantee is asked for.
        delay: samples until an input is felt, one number or one per input, or "auto" from the data (see `describe`).
            Training sees shifted inputs; the deployed LFR has the delay as states, and the certificate covers them.
        dt: the sample time in seconds, for pairs of arrays.
        progress: called with events (phase, step, steps, seconds, eta_seconds, train_loss, val_rmse).
        keeper: stores and gives checkpoints; see `eqnets.identification.files.checkpoint.Checkpoint`.

    Returns:
        The fit. It raises DataError where records are too short or a channel is constant, and NotCertified where the
        guarantee could not be proved for the trained numbers.

    Raises:
        InputError: an option is out of range, or an output integrates.
    """
    began = time.monotonic()
    guarantee = settle(model, guarantee, nx, nv, activation)
    for name, value, least in (
        ("nx", nx, 1),
        ("nv", None if nv == "auto" else nv, 0),
        ("steps", steps, 0),
        ("restarts", restarts, 1),
        ("workers", workers, 1),
    ):
        if value is not None and (not isinstance(value, int) or value < least):
            words = ", or 'auto'" if name == "nv" else ""
            raise InputError(f"{name} must be a whole number of at least {least}{words}; got {value!r}.")
    if not (minutes > 0 and math.isfinite(minutes)):
        raise InputError(f"minutes must be a positive number; got {minutes!r}.")
    if learning_rate is not None and not (learning_rate > 0 and math.isfinite(learning_rate)):
        raise InputError(f"learning_rate must be a positive number, such as 1e-3; got {learning_rate!r}.")
    if integrator not in ("refuse", "ignore"):
        raise InputError(f"integrator is 'refuse' or 'ignore', not {integrator!r}.")
    if not isinstance(data, Data):
        data = read(data, dt=dt)
    refuse_sizes(data)
    supply_of(guarantee, data.nu, data.ny)  # one that does not fit the channels is refused before any time is spent
    delays, doubts = settle_delay(delay, data, model, guarantee)
    data = undelayed(data, delays)
    parts = _Parts.of(data, val, guarantee)
    if integrator == "refuse" and guarantee != "none":
        _refuse_integrators(data)
    long = sum(parts.ends) > LONG
    kind = KINDS[model]
    if restarts is None:
        starts = 6 if kind.neurons else 3 if nx is None else 1  # a linear model differs in its order alone
        restarts = 1 if long else starts if kind.fused else 2
    usual = (60 if long else 20) if kind.neurons else 0
    tried = widths(usual) if nv == "auto" and warm is None else ()
    plan = Plan(
        model=model, guarantee=guarantee, normaliser=parts.normaliser, nx=nx, widths=tried,
        nv=nv if isinstance(nv, int) else usual,
        activation="tanh" if activation is None else activation, seed=seed, restarts=restarts,
        refit=refit if refit is not None else not long, deadline=began + 60 * minutes, steps=steps, long=long,
        learning_rate=learning_rate if learning_rate is not None else (1e-3 if long else kind.learning_rate),
        workers=workers, warm=_warm(warm, data),
        in_units=None if long and kind.promises else kind.promises and kind.neurons,
    )  # fmt: skip
    if keeper is not None:
        keeper.begin()
    found = search(parts.normal, parts.ends, plan, progress, keeper)

    labels: dict[str, Any] = {
        "u_names": data.u_names, "y_names": data.y_names, "u_units": data.u_units, "y_units": data.y_units,
    }  # fmt: skip
    scales = parts.scales()
    system, seen = _deploy(found.model, parts.normaliser, scales, labels, delays)
    prior = with_registers(moments(seen, found.trained_on, found.training.x0), delays)
    start = fold(delayed(found.linear.lti.to_lfr(), delays), *scales, **labels)
    certificate = None
    if guarantee != "none":
        tell(progress, phase="certificate")
        certificate = certify_model(guarantee, lfr_of(system), found.model, delays)
    return Fit(
        system=system, prior=parts.physical(prior), model=found.model, certificate=certificate,
        linear=Identified(start, parts.physical(with_registers(found.linear.prior, delays))),
        guarantee=guarantee, normaliser=parts.normaliser, history=found.training.history, x0=found.training.x0,
        notes=(*doubts, *found.notes, *([NOTHING] if guarantee == "none" else [])),
        data_info=describe_data(data, parts.ends, val), environment=environment(),
        settings={
            "model": model, "guarantee": repr(guarantee) if guarantee != "none" else "none",
            "nx": seen.nx, "nv": seen.nv if isinstance(seen, LFR) else found.nv,
            "activation": plan.activation if kind.activation else None,
            "delay": list(delays) if any(delays) else None,
            "seed": seed, "val": val, "minutes": minutes, "steps": steps,
            "updates": found.steps[0], "second_order_blocks": found.steps[1], "learning_rate": plan.learning_rate,
            "refit": plan.refit, "restarts": found.tried, "val_rmse": found.val_rmse,
            "linear_nx": found.linear.lti.nx, "linear_val_rmse": found.linear.val_rmse,
            "unit_curve": [], "order_curve": [], **found.curves, "seconds": time.monotonic() - began,
        },
    )  # fmt: skip


def _warm(fit: Fit | None, data: Data) -> tuple[torch.nn.Module, torch.Tensor] | None:
    if fit is None:
        return None
    if fit.x0 is None or len(fit.x0) != len(data.records):
        raise InputError("a warm start needs a fit of the very same records, with their initial states.")
    return fit.model, fit.x0


def _deploy(
    model: Any, normaliser: Normaliser, scales: list[torch.Tensor], labels: dict[str, Any], delays: tuple[int, ...]
) -> tuple[System, LFR | BlackBox]:
    """The trained model between physical signals, behind its delays, and between normalised ones, without them."""
    if isinstance(model, BlackBox):
        return Physical(model, normaliser, **labels), model
    lfr = model.explicit().detach()
    return fold(delayed(lfr, delays), *scales, **labels), lfr


def _refuse_integrators(data: Data) -> None:
    """Raise where no model that forgets its past can fit, before any time is spent on it."""
    for slowest in slowest_poles(data):
        if slowest.integrates:
            raise InputError(
                f"output '{slowest.output}' behaves like an integrator: its first-order model has a time constant of "
                f"{slowest.time_constant:.3g} s, the longest that these records can show, while every guarantee makes "
                f"a model that forgets. Fit its rate of change instead (data.difference('{slowest.output}'), or "
                f"--difference {slowest.output}) and integrate the result, which no certificate covers; or overrule "
                "the test (integrator='ignore', or --ignore-integrator)."
            )


@dataclass(frozen=True, eq=False)
class _Parts:
    """The normalised records, where their training parts end, and the way back to physical units."""

    normal: Data
    ends: list[int]
    normaliser: Normaliser

    @classmethod
    def of(cls, data: Data, val: float, guarantee: Promise) -> _Parts:
        heads = data.split(val)[0]
        normaliser = _normaliser(heads, guarantee)
        return cls(normaliser.normalise(data), list(heads.lengths), normaliser)

    def scales(self) -> list[torch.Tensor]:
        """u_offset, u_scale, y_offset, y_scale as `fold` takes them."""
        n = self.normaliser
        return [torch.from_numpy(v.copy()) for v in (n.u_offset, n.u_scale, n.y_offset, n.y_scale)]

    def physical(self, prior: Prior) -> Prior:
        """The prior in physical output units; states have none."""
        return replace(prior, noise=prior.noise * torch.from_numpy(self.normaliser.y_scale.copy()))


def _normaliser(data: Data, guarantee: Promise) -> Normaliser:
    """Learned on `data`; for a gain bound the scales are one factor times the claim's, so that γ carries over exactly."""  # noqa: E501
    learned = Normaliser.learn(data)
    if not isinstance(guarantee, Lipschitz):
        return learned

    def common(scale: Any, size: np.ndarray) -> np.ndarray:
        claimed = np.broadcast_to(np.asarray(1.0 if scale is None else scale, dtype=float), size.shape)
        return claimed * np.exp(np.mean(np.log(size / claimed)))

    return replace(
        learned, u_scale=common(guarantee.u_scale, learned.u_scale), y_scale=common(guarantee.y_scale, learned.y_scale)
    )
