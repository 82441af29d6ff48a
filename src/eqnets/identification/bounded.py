"""A linear model and a bounded rest: y = G₀ u + Δ(u), ‖Δ(u) − Δ(u′)‖ ≤ γ ‖u − u′‖, a model made to be controlled.

A loop with integral action comes to rest only where the plant's static gain has one sign, and a proof has to see that
sign for every slope of the neurons. A model that merely contracts does not promise it. Here γ < |G₀(0)| does, for every
value of the parameters: by the small-gain theorem a controller with γ max|C/(1 + G₀C)| < 1 makes a contracting loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from eqnets.certification import Certificate, Contracting, Lipschitz, certify
from eqnets.errors import InputError
from eqnets.identification.data import Data
from eqnets.identification.identified import Identified
from eqnets.identification.identify import identify
from eqnets.identification.moments import moments
from eqnets.models import LipschitzREN
from eqnets.system.connect import parallel
from eqnets.system.lti import LTI
from eqnets.system.scale import fold
from eqnets.system.simulate import linearise, simulate
from eqnets.system.steady import static_characteristic

_TAIL = 0.2
_ROUNDING = 1e-6  # of γ, for the weights as they are rounded


@dataclass(frozen=True, eq=False)
class Bounded(Identified):
    """The sum of a linear model and a residual with a proved gain; simulate and score it like every identified model.

    Args:
        system: nominal and residual in parallel, physical units, float64.
        prior: of its initial state.
        nominal: G₀ alone.
        residual: the certificate `Lipschitz(γ)` of Δ, whose `lfr` is Δ.
        validation: of every start, the smallest error on the validation tails, in the output's unit.
        steps: how many updates the final training made.
    """

    nominal: Identified = field(default=None)  # type: ignore[assignment]
    residual: Certificate = field(default=None)  # type: ignore[assignment]
    validation: tuple[float, ...] = ()
    steps: int = 0

    @property
    def gamma(self) -> float:
        """γ, in the output's unit per unit of the input."""
        assert isinstance(self.residual.claim, Lipschitz)
        return self.residual.claim.gamma

    @property
    def linear(self) -> LTI:
        """G₀ as a linear system, for the design of a controller."""
        return linearise(self.nominal.lfr)


def identify_bounded(
    data: Data,
    *,
    share: float = 0.8,
    nx: int = 3,
    nv: int = 20,
    starts: int = 4,
    steps: int = 1_500,
    seed: int = 0,
    learning_rate: float = 3e-3,
    nominal_steps: int = 200,
) -> Bounded:
    """Identify y = G₀ u + Δ(u) with γ = share · |G₀(0)|.

    G₀ is the linear model that `identify` finds, and stays. Δ is a Lipschitz REN that forgets as fast as G₀ does. It is
    trained from random starts on the heads of the records; their tails (the last fifth) choose the start and the number
    of updates, with which it is trained once more on the whole records.

    Args:
        data: records of one input and one output.
        share: of the static gain; at 0.8 the local gains of the model lie between 0.2 and 1.8 of |G₀(0)|.
        nx: states of G₀, and of Δ.
        nv: neurons of Δ.
        starts: random starts.
        steps: the most updates of each.
        seed: of the first start; the others follow.
        learning_rate: of Adam.
        nominal_steps: updates of G₀, which begins at the linear start of `identify`.

    Returns:
        The model; training makes one pass over all records at every update.

    Raises:
        InputError: several inputs or outputs, or an option out of range.
    """
    if (data.nu, data.ny) != (1, 1):
        raise InputError(f"a bounded residual is for one input and one output; the data have {data.nu} and {data.ny}.")
    if not 0 < share < 1:
        raise InputError(f"the share of the static gain that γ takes lies between 0 and 1, got {share}.")
    if min(starts, steps, nx, nv) < 1:
        raise InputError("nx, nv, starts and steps are whole numbers of at least 1.")
    options = {"nx": nx, "nv": nv, "share": share, "learning_rate": learning_rate}
    heads = data.split(_TAIL)[0]
    choice = _Training(data, _nominal(heads, nx, nominal_steps, seed), **options)  # G₀ too must not have seen the tails
    tried = [choice.run(seed + i, steps, heads.lengths)[1] for i in range(starts)]
    best = min(range(starts), key=lambda i: min(tried[i]))
    updates = 1 + tried[best].index(min(tried[best]))
    nominal = _nominal(data, nx, nominal_steps, seed)
    training = _Training(data, nominal, **options)
    net, _, x0 = training.run(seed + best, updates, data.lengths)
    residual = fold(
        net.explicit().detach(), training.mean, training.su, 0.0, training.sy, u_names=data.u_names,
        y_names=data.y_names, u_units=data.u_units, y_units=data.y_units,
    )  # fmt: skip
    certificate = certify(Lipschitz(training.gamma * (1 + _ROUNDING)), residual, net.witness())
    system = parallel(nominal.lfr, residual)
    return Bounded(
        system, moments(system, data, x0), nominal, certificate, tuple(min(tails) for tails in tried), updates
    )


def _nominal(data: Data, nx: int, steps: int, seed: int) -> Identified:
    linear = identify(data, Contracting(), model="linear", nx=nx, steps=steps, restarts=1, seed=seed)
    return Identified(linear.system, linear.prior)


class _Training:
    """The records as tensors, and one training run of the residual beside the nominal model."""

    def __init__(
        self, data: Data, nominal: Identified, *, share: float, nx: int, nv: int, learning_rate: float
    ) -> None:
        self.lfr, self.dt = nominal.lfr, data.dt
        self.gamma = share * abs(float(static_characteristic(nominal.lfr).D22))
        self.records = [(torch.tensor(r.u)[None], torch.tensor(r.y)[None]) for r in data.records]
        if len(set(data.lengths)) == 1:
            self.records = [(torch.cat([u for u, _ in self.records]), torch.cat([y for _, y in self.records]))]
        self.x_nominal = torch.stack([nominal.initial_state(r.u, r.y[:50]) for r in data.records])
        u, y = (torch.cat([record[i].flatten() for record in self.records]) for i in (0, 1))
        self.mean, self.su, self.sy = float(u.mean()), float(u.std()), float(y.std())
        self.nx, self.nv, self.learning_rate = nx, nv, learning_rate

    def run(self, seed: int, steps: int, ends: Sequence[int]) -> tuple[LipschitzREN, list[float], Tensor]:
        """Train on the records up to their ends; the model, the error after these at every step, and the states x0."""
        net = LipschitzREN(
            1, self.nx, self.nv, 1, gamma=self.gamma * self.su / self.sy, rate=linearise(self.lfr).spectral_radius(),
            dt=self.dt, generator=torch.Generator().manual_seed(seed), dtype=torch.float64,
        )  # fmt: skip
        x_net = torch.zeros(len(self.x_nominal), self.nx, dtype=torch.float64, requires_grad=True)
        x_nominal = self.x_nominal.clone().requires_grad_()
        optimiser = torch.optim.Adam([*net.parameters(), x_net, x_nominal], lr=self.learning_rate)
        tails: list[float] = []
        for _ in range(steps):
            optimiser.zero_grad()
            first, seen, total, left = 0, 0, 0.0, 0.0
            for u, y in self.records:
                rows = slice(first, first + len(u))
                model = simulate(self.lfr, u, x_nominal[rows])[0]
                model = model + self.sy * net((u - self.mean) / self.su, x_net[rows])[0]
                squared, end = (model - y).square(), ends[first]
                squared[:, :end].sum().backward()
                left, seen = left + float(squared[:, end:].detach().sum()), seen + squared[:, end:].numel()
                first, total = rows.stop, total + squared[:, :end].numel()
            for parameter in (*net.parameters(), x_net, x_nominal):
                if parameter.grad is not None:
                    parameter.grad /= total
            tails.append((left / max(seen, 1)) ** 0.5)
            optimiser.step()
        return net, tails, torch.cat([x_nominal, x_net], dim=1).detach()


__all__ = ["Bounded", "identify_bounded"]
