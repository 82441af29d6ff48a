"""Plants with known physics. The pendulum: a Lur'e system whose truth, guarantees and limits can all be written down.

With φ the angle from upright (s = +1) or from hanging (s = −1), torque u, total damping c = μ/(m l²) + kd and G = g/l,

    φ'' = s G sin φ − kp φ − c φ' + u/(m l²),        sin φ = φ − Δ(φ),   Δ(v) = v − sin v,

is an LFR with one neuron. Its stiffness kp − s G cos φ covers [kp − G, kp + G] for either s. With a² = kp − G and
b² = kp + G, a quadratic storage that proves contraction exists if and only if kp > G and c > b − a:
d/dt of p x² + c x x' + x'² for x'' = −c x' − k x is negative if and only if (h − k)² < c² k, h = p − c²/2, that is
b² − c b < h < a² + c a over all k in [a², b²]; the interval holds h = ab whenever it is not empty. (The weight of x x'
that admits most is c.) The multiplier then is λ = G/2 √(ab + c²/4), the maximiser of the determinant of the inequality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eqnets.errors import InputError, NotCertified
from eqnets.system.discretise import discretise
from eqnets.system.lfr import LFR
from eqnets.system.nonlinearity import SINE_DEFECT
from eqnets.system.ode import step_count, steps
from eqnets.system.witness import Witness


@dataclass(frozen=True)
class Pendulum:
    """A point mass on a rigid rod with a torque input, free or under a PD controller.

    The state is (φ, φ') in rad and rad/s, the input u a torque in N·m, the output φ in rad. The controller adds
    the torque m l² (−kp φ − kd φ'), so that u is the reference torque of the closed loop: a reference angle of r rad is
    u = m l² kp r.

    Args:
        mass: m in kg.
        length: l in m.
        gravity: g in m/s².
        damping: viscous friction μ in N·m·s/rad.
        upright: φ is measured from upright (inverted pendulum) or, if False, from hanging.
        kp: proportional gain, normalised by m l², in 1/s².
        kd: derivative gain, normalised by m l², in 1/s.

    Raises:
        InputError: mass, length or gravity is not positive, or damping or a gain is negative.
    """

    mass: float
    length: float
    gravity: float
    damping: float
    upright: bool = True
    kp: float = 0.0
    kd: float = 0.0

    def __post_init__(self) -> None:
        for name in ("mass", "length", "gravity", "damping", "kp", "kd"):
            value = getattr(self, name)
            positive = name in ("mass", "length", "gravity")
            if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
                raise InputError(f"a pendulum's {name} must be {'positive' if positive else '0 or more'}; got {value}.")

    @property
    def inertia(self) -> float:
        """The moment of inertia m l² in kg·m²."""
        return self.mass * self.length**2

    @property
    def stiffness_of_gravity(self) -> float:
        """The stiffness G = g/l that gravity adds or takes away, in 1/s²."""
        return self.gravity / self.length

    @property
    def total_damping(self) -> float:
        """Friction and controller together, c = μ/(m l²) + kd, in 1/s."""
        return self.damping / self.inertia + self.kd

    def contraction_threshold(self) -> float:
        """What the total damping must exceed: √(kp + g/l) − √(kp − g/l) in 1/s, or inf for kp ≤ g/l."""
        G = self.stiffness_of_gravity
        return math.sqrt(self.kp + G) - math.sqrt(self.kp - G) if self.kp > G else math.inf

    def is_contracting(self) -> bool:
        """Whether a quadratic storage proves the continuous pendulum globally contracting.

        For kp ≤ g/l the answer no is final: under some constant torque the pendulum has more than one equilibrium, or a
        marginal one. For kp > g/l and little damping it says that no quadratic storage proves contraction.

        Returns:
            Whether kp > g/l and the total damping exceeds `contraction_threshold()`.
        """
        return self.total_damping > self.contraction_threshold()

    def witness(self) -> Witness:
        """P and Λ that prove the continuous pendulum contracting, in closed form (see the head of this module).

        Returns:
            P (2, 2) and Lambda (1,), float64, for `self.lfr()`.

        Raises:
            NotCertified: `is_contracting()` is False.
        """
        if not self.is_contracting():
            G, c, threshold = self.stiffness_of_gravity, self.total_damping, self.contraction_threshold()
            need = f"kp = {self.kp:.6g} 1/s² does not exceed g/l = {G:.6g} 1/s²; raise kp first"
            if math.isfinite(threshold):
                need = f"its total damping {c:.6g} 1/s does not exceed {threshold:.6g} 1/s; raise kd by the difference"
            raise NotCertified(f"no quadratic storage proves this pendulum contracting: {need}.", margin=c - threshold)
        G, c = self.stiffness_of_gravity, self.total_damping
        ab = math.sqrt(self.kp - G) * math.sqrt(self.kp + G)
        P = torch.tensor([[ab + c**2 / 2, c / 2], [c / 2, 1.0]], dtype=torch.float64)
        return Witness(P, torch.tensor([G / 2 * math.sqrt(ab + c**2 / 4)], dtype=torch.float64))

    def lfr(self, dt: float | None = None, method: Literal["euler", "exact", "midpoint"] = "exact") -> LFR:
        """The pendulum as an LFR with one neuron Δ(v) = v − sin v.

        Args:
            dt: the sample time in seconds, or None for continuous time.
            method: how to discretise, see `eqnets.system.discretise`.

        Returns:
            A float64 LFR with nx = 2, nv = nu = ny = 1, input `torque` in N·m and output `angle` in rad.

        Raises:
            InputError: dt is not positive, or there is no such method.
        """  # noqa: DOC502
        sG = self.stiffness_of_gravity if self.upright else -self.stiffness_of_gravity
        first = torch.tensor([[1.0, 0.0]], dtype=torch.float64)  # φ of (φ, φ')
        second = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        continuous = LFR(
            A=torch.tensor([[0.0, 1.0], [sG - self.kp, -self.total_damping]], dtype=torch.float64),
            B1=-sG * second, B2=second / self.inertia, C1=first, C2=first, D22=torch.zeros(1, 1, dtype=torch.float64),
            activation=SINE_DEFECT, dt=None,
            u_names=("torque",), y_names=("angle",), u_units=("N·m",), y_units=("rad",),
        )  # fmt: skip
        return continuous if dt is None else discretise(continuous, dt, method)

    def simulate(self, u: Tensor, x0: Tensor | None, dt: float) -> tuple[Tensor, Tensor]:
        """The solution of the differential equation, with u held over each sample; without gradients.

        Args:
            u: (batch, time, 1) torque in N·m.
            x0: (batch, 2) or (2,) the initial angle in rad and angular velocity in rad/s; None is rest at φ = 0.
            dt: the sample time in seconds.

        Returns:
            y (batch, time, 1), the angle in rad at each sample's beginning, and x_last (batch, 2), the state after the
            last sample; float64. The error is about 1e-12 rad a sample; an unstable pendulum amplifies it as any other.

        Raises:
            InputError: a wrong shape, or dt not positive.
        """
        if not isinstance(u, Tensor) or u.ndim != 3 or u.shape[2] != 1:
            got = tuple(u.shape) if isinstance(u, Tensor) else type(u).__name__
            raise InputError(f"u must be a tensor (batch, time, 1) of torques; got {got}. For one record use u[None].")
        if not (isinstance(dt, float | int) and 0 < dt < math.inf):
            raise InputError(f"dt must be a positive number of seconds; got {dt!r}.")
        batch, time = u.shape[:2]
        start = torch.zeros(2) if x0 is None else torch.as_tensor(x0)
        if start.shape not in ((2,), (batch, 2)):
            raise InputError(f"x0 must be (batch={batch}, 2) or (2,): angle and velocity; got {tuple(start.shape)}.")
        x = start.detach().to("cpu", torch.float64).expand(batch, 2).numpy().T.copy()  # (2, batch)
        acceleration = u[:, :, 0].detach().to("cpu", torch.float64).numpy().T / self.inertia  # (time, batch)
        sG = self.stiffness_of_gravity if self.upright else -self.stiffness_of_gravity
        kp, c = self.kp, self.total_damping
        count = step_count(dt, max(math.sqrt(kp + abs(sG)), c))
        y = np.empty((time, batch))
        for t in range(time):
            held = acceleration[t]

            def f(x: np.ndarray, held: np.ndarray = held) -> np.ndarray:
                return np.stack([x[1], sG * np.sin(x[0]) - kp * x[0] - c * x[1] + held])

            y[t] = x[0]
            x = steps(f, x, dt, count)
        return torch.from_numpy(y.T[:, :, None].copy()), torch.from_numpy(x.T.copy())

    def records(
        self, generator: torch.Generator, *, n_records: int = 6, duration: float = 40.0, dt: float = 0.05,
        noise: float = 2e-3, angle: float = 2.5,
    ) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
        """A seeded data set: measured angles under a torque that excites the sine from rest.

        The torque runs between random levels, a quarter of a period to two periods apart, plus a random-phase multisine
        of a fifth of their size up to twice the natural frequency √(kp + g/l). Under a controller with kp > g/l, the
        largest level is the torque that holds the pendulum at `angle`, so that angles span about ±`angle`. Otherwise it
        is two fifths of the torque of 90°: a hanging pendulum then swings without going over the top.

        Args:
            generator: the source of randomness, on the CPU.
            n_records: how many records.
            duration: length of a record in seconds.
            dt: sample time in seconds.
            noise: standard deviation of the white measurement noise in rad (2e-3 rad: a 12-bit encoder's step).
            angle: the angle in rad that the largest level holds, for kp > g/l.

        Returns:
            `n_records` pairs (u, y) of float64 arrays (time, 1): torque in N·m, angle in rad.

        Raises:
            InputError: a count, duration, dt or angle that is not positive, negative noise, or fewer than 2 samples.
        """
        time = round(duration / dt) if dt > 0 and math.isfinite(duration) else 0
        if n_records < 1 or time < 2 or not angle > 0 or not noise >= 0:
            raise InputError(
                f"records needs n_records ≥ 1, duration of at least two samples dt, angle > 0 and noise ≥ 0; got "
                f"n_records={n_records}, duration={duration}, dt={dt}, angle={angle}, noise={noise}."
            )
        sG = self.stiffness_of_gravity if self.upright else -self.stiffness_of_gravity
        G = abs(sG)
        largest = self.inertia * (self.kp * angle - sG * math.sin(angle) if self.kp > G else 0.4 * G)
        omega = math.sqrt(self.kp + G)
        period = 2 * math.pi / omega

        def uniform(*size: int) -> np.ndarray:
            return torch.rand(*size, generator=generator, dtype=torch.float64).numpy()

        clock = np.arange(time) * dt
        torques = np.empty((n_records, time))
        for i in range(n_records):
            count = math.ceil(duration / (0.25 * period)) + 2
            knots = np.cumsum(period * (0.25 + 1.75 * uniform(count))) - period
            levels = largest * (2 * uniform(count) - 1)
            harmonics = 2 * math.pi / duration * np.arange(1, max(2, math.floor(2 * duration / period)) + 1)
            sines = np.cos(np.outer(clock, harmonics) + 2 * math.pi * uniform(len(harmonics))).sum(axis=1)
            torques[i] = np.interp(clock, knots, levels) * np.minimum(clock / (0.25 * period), 1)  # from rest
            torques[i] += 0.2 * largest / math.sqrt(3) * sines / math.sqrt(len(harmonics) / 2)
        angles, _ = self.simulate(torch.from_numpy(torques[:, :, None]), None, dt)
        measured = angles + noise * torch.randn(angles.shape, generator=generator, dtype=torch.float64)
        return [(torques[i, :, None].copy(), measured[i].numpy().copy()) for i in range(n_records)]
