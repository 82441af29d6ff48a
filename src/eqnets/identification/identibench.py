"""The model builder that identibench asks for: its benchmarks run on our models with one function.

    import identibench as idb
    from eqnets.identification.identibench import build_model

    idb.run_benchmark(idb.BenchmarkWH_Simulation, build_model, {"minutes": 5, "nv": 60}, seed=0)

Nothing of identibench is imported here: the context that it hands over is all that is used, so that no version is
prescribed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from eqnets.errors import InputError
from eqnets.identification.identify import identify

Predictor = Callable[[np.ndarray, np.ndarray, dict[str, Any]], np.ndarray]
_OWN = {"data", "seed", "dt", "progress", "keeper"}


def build_model(context: Any) -> Predictor:
    """Identify a model on the estimation records of an identibench task.

    The unsplit estimation records are taken where the task has them, since `identify` keeps a contiguous tail of every
    record for validation by itself; else the training records. Test records are not touched.

    Args:
        context: an `identibench.TrainingContext`; its hyperparameters are options of `eqnets.identify`, such as
            `{"guarantee": eq.Lipschitz(40), "nv": 60, "minutes": 5}`, and its seed is that of the fit.

    Returns:
        (u (time, nu), y_init (n_init, ny), attributes) ↦ y (time, ny): the free run, whose initial state is estimated
        from u and y_init alone. The fit itself is its attribute `fit`.

    Raises:
        InputError: a hyperparameter is not the user's to set, or the records' sampling rates differ.
    """
    options = dict(context.hyperparameters)
    taken = sorted(_OWN & options.keys())
    if taken:
        raise InputError(f"{', '.join(taken)} cannot be a hyperparameter: the benchmark sets it; leave it out.")
    whole = context.spec.train_valid is not None
    records = list(context.get_train_valid_sequences() if whole else context.get_train_sequences())
    seed = 0 if context.seed is None else int(context.seed) % 2**31
    pairs = [(np.asarray(r.u, dtype=float), np.asarray(r.y, dtype=float)) for r in records]
    fit = identify(pairs, dt=_sample_time(r.attrs for r in records), seed=seed, **options)

    def model(u: np.ndarray, y_init: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
        del attributes
        return fit.simulate(u, y_init if len(y_init) else None)

    model.fit = fit  # type: ignore[attr-defined]
    return model


def _sample_time(attributes: Iterable[dict[str, Any]]) -> float:
    """1/fs of the records; 1 where none states its rate: the unit of time is then a sample."""
    rates = {float(a["fs"]) for a in attributes if "fs" in a}
    if len(rates) > 1:
        raise InputError(f"the records have different sampling rates ({sorted(rates)}); one model has one sample time.")
    return 1 / rates.pop() if rates else 1.0
