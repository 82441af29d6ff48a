"""The verb `identify`: measured records in, a certified model out."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from eqnets.certification import Certificate, Contracting, Lipschitz, certify
from eqnets.errors import DataError, InputError
from eqnets.identification.data import Data
from eqnets.identification.identified import Identified
from eqnets.identification.initial_state import Prior, estimate_x0
from eqnets.identification.normaliser import Normaliser
from eqnets.identification.start import largest_radius, spectra, vector_fit
from eqnets.identification.streams import Streams, training_streams, validation_streams
from eqnets.identification.train import Keeper, Progress, Schedule, Training, train, validation_rmse
from eqnets.models import ContractingREN, LipschitzREN, shrink
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.scale import fold
from eqnets.system.simulate import simulate

Guarantee = Contracting | Lipschitz
_WASHOUT = 2048
_MOST_STREAMS = 64


@dataclass(frozen=True, eq=False)
class Fit(Identified):
    """An identified model with its evidence.

    Args:
        lfr: the deployed system, physical units, float64; the certificate speaks of it.
        prior: of its initial state.
        model: the trained module, between normalised signals.
        certificate: the proof of the guarantee.
        linear: the linear start, whose scores stand beside every score.
        guarantee: the claim that was asked for, in physical units.
        normaliser: learned on the training part of the records.
        history: one row a validation: step, seconds, train_rmse and val_rmse (normalised), learning_rate.
        data_info: names, units, sample time, sources with sha256, and how the records were split.
        settings: everything `identify` was asked for, and what it chose.
        environment: versions of Python and of the libraries.
        x0: (record, nx) the trained initial states of the training records.
        notes: sentences a user must read, such as what a guarantee cost.
    """

    model: nn.Module = field(default=None)  # type: ignore[assignment]
    certificate: Certificate = field(default=None)  # type: ignore[assignment]
    linear: Identified = field(default=None)  # type: ignore[assignment]
    guarantee: Guarantee = field(default_factory=Contracting)
    normaliser: Normaliser = field(default=None)  # type: ignore[assignment]
    history: list[dict[str, float]] = field(default_factory=list)
    data_info: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    x0: Tensor | None = None
    notes: tuple[str, ...] = ()

    def save(self, folder: str | Path, force: bool = False) -> Path:
        """Write the model folder: model.safetensors, model.json, certificate.json, history.csv.

        Args:
            folder: where to; it is made if it does not exist.
            force: whether existing files may be replaced.

        Returns:
            The folder.

        Raises:
            InputError: a file exists and `force` is not given.
        """
        from eqnets.identification.files import save_fit  # files reads Fit, Fit writes files

        return save_fit(self, folder, force=force)


def identify(
    data: Data | Sequence[tuple[np.ndarray, np.ndarray]],
    guarantee: Guarantee | None = None,
    *,
    nx: int | None = None,
    nv: int | None = None,
    minutes: float = 5.0,
    steps: int | None = None,
    seed: int = 0,
    activation: str = "tanh",
    val: float = 0.2,
    learning_rate: float = 3e-3,
    dt: float | None = None,
    progress: Progress | None = None,
    keeper: Keeper | None = None,
) -> Fit:
    """Identify a model that keeps a guarantee by construction, train it on its simulation error, and certify it.

    The records' heads train, their contiguous tails validate: they choose the linear order, and they stop the training
    early. Signals are normalised by constants of the training part, and folded back once, into `fit.lfr`.

    Args:
        data: the training records, as `eqnets.Data`, or pairs (u, y) of arrays (time, channel) with `dt`.
        guarantee: `Contracting(rate)` (the default, rate 1) or `Lipschitz(gamma, u_scale, y_scale)`, in physical units.
        nx: number of states; None chooses the linear model's order on the validation tails.
        nv: number of neurons; None takes 20 for short records, 60 for long ones.
        minutes: time to train.
        steps: number of updates instead; the run is then the same every time.
        seed: of every random choice.
        activation: a name with slopes within [0, 1].
        val: the share of every record that is its validation tail.
        learning_rate: of Adam.
        dt: the sample time in seconds, for pairs of arrays.
        progress: called with events (phase, step, steps, seconds, eta_seconds, train_loss, val_rmse).
        keeper: stores and gives checkpoints; see `eqnets.identification.files.Checkpoint`.

    Returns:
        The fit.

    Raises:
        InputError: an option is out of range.
        DataError: the records are too short, or a channel is constant.
        NotCertified: the guarantee could not be proved for the trained numbers.
    """
    guarantee = Contracting() if guarantee is None else guarantee
    if not isinstance(guarantee, Contracting | Lipschitz):
        raise InputError(f"identify can promise Contracting(rate) or Lipschitz(gamma), not {guarantee!r}.")
    if not isinstance(data, Data):
        data = _from_pairs(data, dt)
    for name, value, least in (("nx", nx, 1), ("nv", nv, 0), ("steps", steps, 0)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise InputError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    if not (minutes > 0 and math.isfinite(minutes)):
        raise InputError(f"minutes must be a positive number; got {minutes!r}.")
    ends = [len(head) for head in data.split(val)[0].records]
    train_part = replace(data, records=tuple(r.cut(0, end) for r, end in zip(data.records, ends, strict=True)))
    normaliser = _normaliser(train_part, guarantee)
    normal = normaliser.normalise(data)
    heads = replace(normal, records=tuple(r.cut(0, end) for r, end in zip(normal.records, ends, strict=True)))
    generator = torch.Generator().manual_seed(seed)

    _say(progress, "linear start")
    check = validation_streams(normal, ends, _WASHOUT, min(_WASHOUT, max(data.lengths)))
    lti, lti_val = choose_linear(heads, check, nx, generator)
    nv = (20 if sum(ends) < 20_000 else 60) if nv is None else nv
    linear_prior, linear_x0 = _describe(lti.to_lfr(), heads)

    model, notes = _start(lti, nv, guarantee, normaliser, activation, linear_prior, generator)
    long = sum(ends) > 20_000
    streams = training_streams(normal, ends, _MOST_STREAMS if long else 1, 2048)
    x0 = torch.stack([_initial(model.explicit().detach(), record, linear_prior) for record in heads.records])
    schedule = Schedule(
        minutes=minutes, steps=steps, learning_rate=learning_rate, segment=512 if long else 2048,
        dtype=torch.float32 if long else torch.float64,
    )  # fmt: skip
    training = train(model, streams, check, x0, schedule, progress, keeper)

    _say(progress, "certificate")
    labels = {
        "u_names": data.u_names, "y_names": data.y_names, "u_units": data.u_units, "y_units": data.y_units,
    }  # fmt: skip
    scales = [torch.from_numpy(v.copy()) for v in (normaliser.u_offset, normaliser.u_scale, normaliser.y_offset, normaliser.y_scale)]
    normal_lfr = model.explicit().detach().replace(dt=data.dt)
    lfr = fold(normal_lfr, *scales, **labels)
    certificate = certify(guarantee, lfr, model.witness())
    prior, x0 = _describe(normal_lfr, heads, training.x0)
    del linear_x0
    return Fit(
        lfr=lfr, prior=_physical(prior, normaliser), model=model, certificate=certificate,
        linear=Identified(fold(lti.to_lfr(), *scales, **labels), _physical(linear_prior, normaliser)),
        guarantee=guarantee, normaliser=normaliser, history=training.history, x0=x0, notes=tuple(notes),
        data_info=_describe_data(data, ends, val), environment=environment(),
        settings={
            "guarantee": repr(guarantee), "nx": lti.nx, "nv": nv, "activation": activation, "seed": seed, "val": val,
            "minutes": minutes, "steps": training.steps, "best_step": training.best_step, "seconds": training.seconds,
            "learning_rate": learning_rate, "linear_val_rmse": lti_val,
        },
    )  # fmt: skip


# the linear start -----------------------------------------------------------------------------------------------------


def choose_linear(
    heads: Data, check: Streams, nx: int | None, generator: torch.Generator
) -> tuple[LTI, float]:
    """The linear model of order nx; or of the smallest order within 2 % of the best error on the validation streams.

    Args:
        heads: the normalised training parts.
        check: the normalised validation streams.
        nx: the order, or None to choose it.
        generator: draws the frequency bins of long records.

    Returns:
        The model between normalised signals, and its root mean square error on the validation streams.

    Raises:
        DataError: the records are too short for any order.
    """
    bins, radius = spectra(heads, generator), largest_radius(heads)
    long = heads.n_samples > 20_000
    orders = [nx] if nx is not None else ([2, 4, 6, 8, 12, 16, 20, 24] if long else [1, 2, 3, 4, 5, 6])
    found: list[tuple[float, LTI]] = []
    for order in orders:
        try:
            lti = vector_fit(bins, order, radius, heads.dt)
        except DataError:
            if nx is not None or not found:
                raise
            break
        x0 = torch.zeros(len(heads.records), lti.nx, dtype=torch.float64)
        if not long:
            prior, _ = _describe(lti.to_lfr(), heads)
            x0 = torch.stack([_initial(lti.to_lfr(), record, prior) for record in heads.records])
        found.append((validation_rmse(lti.to_lfr(), check, x0), lti))
    best = min(error for error, _ in found)
    error, lti = next((error, lti) for error, lti in found if error <= 1.02 * best)
    return lti, error


def _start(
    lti: LTI, nv: int, guarantee: Guarantee, normaliser: Normaliser, activation: str, prior: Prior,
    generator: torch.Generator,
) -> tuple[Any, list[str]]:  # fmt: skip
    """The model that holds the linear start exactly, or the nearest one that keeps the promise, and what that cost."""
    x_scale = torch.diagonal(prior.covariance).sqrt()
    options: dict[str, Any] = {"activation": activation, "generator": generator, "x_scale": x_scale}
    rate = guarantee.rate if isinstance(guarantee, Contracting) else 1.0
    gamma = None
    if isinstance(guarantee, Lipschitz):
        gamma = guarantee.gamma * float(normaliser.u_scale[0] / _claim_scale(guarantee.u_scale, 0))
        gamma /= float(normaliser.y_scale[0] / _claim_scale(guarantee.y_scale, 0))
    inside, cost = shrink(lti, rate=rate, gamma=gamma)
    notes = []
    if cost > 0:
        notes.append(
            f"The linear start does not keep the guarantee; training began from the nearest simple one that does, at "
            f"an H∞ distance of {cost:.3g} (normalised)."
        )
    if gamma is None:
        return ContractingREN.from_linear(inside, nv, rate=rate, **options), notes
    return LipschitzREN.from_linear(inside, nv, gamma=gamma, rate=rate, **options), notes


def _claim_scale(scale: Any, channel: int) -> float:
    return 1.0 if scale is None else float(np.broadcast_to(np.asarray(scale, dtype=float), (channel + 1,))[channel]) \
        if np.ndim(scale) == 0 else float(np.asarray(scale, dtype=float)[channel])  # fmt: skip


# states, scales, descriptions -----------------------------------------------------------------------------------------


def _normaliser(data: Data, guarantee: Guarantee) -> Normaliser:
    """Learned on `data`; for a gain bound the scales are one factor times the claim's, so that γ carries over exactly."""
    learned = Normaliser.learn(data)
    if not isinstance(guarantee, Lipschitz):
        return learned

    def common(scale: Any, size: np.ndarray) -> np.ndarray:
        claimed = np.broadcast_to(np.asarray(1.0 if scale is None else scale, dtype=float), size.shape)
        return claimed * np.exp(np.mean(np.log(size / claimed)))

    return replace(
        learned, u_scale=common(guarantee.u_scale, learned.u_scale), y_scale=common(guarantee.y_scale, learned.y_scale)
    )


def _initial(lfr: LFR, record: Any, prior: Prior, n: int = 200) -> Tensor:
    lfr = lfr.to(torch.float64)
    return estimate_x0(lfr, torch.from_numpy(record.u[:n].copy()), torch.from_numpy(record.y[:n].copy()), prior)


def _describe(lfr: LFR, heads: Data, x0: Tensor | None = None) -> tuple[Prior, Tensor]:
    """The prior that training shows (moments of the states, size of the error), and the initial states of the records."""
    start = torch.zeros(len(heads.records), lfr.nx, dtype=torch.float64) if x0 is None else x0.to(torch.float64)
    states, errors = [], []
    for record, x in zip(heads.records, start, strict=True):
        n = min(len(record), max(500, 32_768 // len(heads.records)))  # enough to know moments
        with torch.no_grad():
            seen = lfr.replace(
                C2=torch.cat([lfr.C2, torch.eye(lfr.nx, dtype=torch.float64)]),
                D21=torch.cat([lfr.D21, torch.zeros(lfr.nx, lfr.nv, dtype=torch.float64)]),
                D22=torch.cat([lfr.D22, torch.zeros(lfr.nx, lfr.nu, dtype=torch.float64)]),
                by=torch.cat([lfr.by, torch.zeros(lfr.nx, dtype=torch.float64)]), y_names=None, y_units=None,
            )  # fmt: skip
            both = simulate(seen, torch.from_numpy(record.u[:n].copy())[None], x[None])[0][0]
        states.append(both[:, lfr.ny :])
        errors.append((both[:, : lfr.ny] - torch.from_numpy(record.y[:n].copy()))[n // 4 :])
    x_all = torch.cat(states)
    covariance = torch.cov(x_all.T).reshape(lfr.nx, lfr.nx)
    floor = 1e-8 * max(float(torch.diagonal(covariance).max()) if lfr.nx else 0.0, 1e-12)
    covariance = covariance + floor * torch.eye(lfr.nx, dtype=torch.float64)
    noise = torch.cat(errors).square().mean(0).sqrt().clamp(min=1e-6)
    return Prior(x_all.mean(0), covariance, noise), start


def _physical(prior: Prior, normaliser: Normaliser) -> Prior:
    return replace(prior, noise=prior.noise * torch.from_numpy(normaliser.y_scale.copy()))


def _from_pairs(pairs: Sequence[tuple[np.ndarray, np.ndarray]], dt: float | None) -> Data:
    from eqnets.identification.readers import read

    return read(pairs, dt=dt)


def _describe_data(data: Data, ends: list[int], val: float) -> dict[str, Any]:
    return {
        "u_names": list(data.u_names), "y_names": list(data.y_names),
        "u_units": list(data.u_units), "y_units": list(data.y_units), "dt": data.dt, "val": val,
        "records": [{"name": r.name, "samples": len(r), "train": end} for r, end in zip(data.records, ends, strict=True)],
        "sources": [{"file": s.file, "sha256": s.sha256} for s in data.sources],
    }  # fmt: skip


def environment() -> dict[str, str]:
    """The versions that a result depends on."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("eqnets", "torch", "numpy", "scipy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "unknown"
    return versions


def _say(progress: Callable[[dict[str, Any]], None] | None, phase: str) -> None:
    if progress is not None:
        progress({"phase": phase, "step": 0, "steps": None, "seconds": 0.0, "eta_seconds": None, "train_loss": None, "val_rmse": None})
