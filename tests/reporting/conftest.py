"""A fit that was never trained: a random contracting model is its own plant, so every number of the page is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eqnets.certification import Contracting, certify
from eqnets.identification.data import Data, Record, Source
from eqnets.identification.fit import Fit
from eqnets.identification.identified import Identified
from eqnets.identification.initial_state import Prior
from eqnets.identification.normaliser import Normaliser
from eqnets.models import ContractingREN
from eqnets.system.simulate import linearise, simulate

NOISE = 0.05


def make(
    nu: int = 1, ny: int = 1, *, length: int = 1200, records: int = 2, dt: float = 0.02, u_names=None, y_names=None,
    u_units=None, y_units=None, certified: bool = True, acyclic: bool = True, seed: int = 0,
) -> SimpleNamespace:  # fmt: skip
    """A fit with its training data and its test data."""
    ren = ContractingREN(
        nu, 4, 12, ny, rate=0.985, activation="tanh", acyclic=acyclic, generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    )  # fmt: skip
    lfr = ren.explicit().detach().replace(
        dt=dt, u_names=u_names or [f"force{i + 1}" for i in range(nu)],
        y_names=y_names or [f"acceleration{i + 1}" for i in range(ny)], u_units=u_units or ["N"] * nu,
        y_units=y_units or ["m/s²"] * ny,
    )  # fmt: skip
    rng = np.random.default_rng(seed)

    def record(name: str) -> Record:
        u = 3 * np.sin(np.cumsum(rng.standard_normal((length, nu)), axis=0) / 3)
        y = simulate(lfr, torch.from_numpy(u)[None])[0][0].numpy()
        return Record(u, y + NOISE * y.std(axis=0) * rng.standard_normal(y.shape), name)

    def data(names: list[str], digit: str) -> Data:
        source = Source("measured.mat", digit * 64, "dt=0.02 was given")
        labels = lfr.u_names, lfr.y_names, lfr.u_units, lfr.y_units
        return Data(tuple(record(name) for name in names), dt, *labels, (source,))

    train, test = data([f"run {k + 1}" for k in range(records)], "a"), data(["held out"], "b")
    prior = Prior(torch.zeros(4), torch.eye(4), torch.full((ny,), 0.1))
    prior = Prior(*(value.to(torch.float64) for value in (prior.mean, prior.covariance, prior.noise)))
    labels = {k: getattr(lfr, k) for k in ("u_names", "y_names", "u_units", "y_units")}
    linear = linearise(lfr).to_lfr(**labels).replace(by=lfr.by)
    steps = range(0, 600, 20)
    fit = Fit(
        system=lfr, prior=prior, model=ren,
        certificate=certify(Contracting(), lfr, ren.witness()) if certified else None,
        linear=Identified(linear, prior), guarantee=Contracting(), normaliser=Normaliser.learn(train),
        history=[
            {"step": k, "seconds": 0.1 * k, "train_rmse": 0.1 + 0.5 * np.exp(-k / 90) if k else float("nan"),
             "val_rmse": 0.12 + 0.4 * np.exp(-k / 80), "learning_rate": 1e-3} for k in steps
        ],
        data_info={
            "records": [{"name": r.name, "samples": len(r), "train": int(0.8 * len(r))} for r in train.records],
            "sources": [{"file": "measured.mat", "sha256": "a" * 64}], "u_ranges": [[-3.0, 3.0]] * nu,
        },
        settings={
            "guarantee": "Contracting(rate=1.0)", "nx": 4, "nv": 12, "seed": 0, "steps": 580, 
            "minutes": 5.0, "linear_val_rmse": 0.62,
        },
        environment={"python": "3.11.7", "torch": "2.13.0"},
    )  # fmt: skip
    return SimpleNamespace(fit=fit, train=train, test=test)


@pytest.fixture(scope="session")
def case() -> SimpleNamespace:
    return make()


@pytest.fixture(scope="session")
def mimo() -> SimpleNamespace:
    return make(2, 3, u_units=["N", "V"], y_units=["m", "m/s", "rad"], seed=1)


@pytest.fixture(scope="session")
def build() -> Callable[..., SimpleNamespace]:
    """The maker itself, for tests that need another system."""
    return make
