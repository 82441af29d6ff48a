"""What can be claimed about an LFR, as data: each claim checks its numbers and can say itself as a sentence.

A claim speaks of the model, never of the plant that it was fitted to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from eqnets.certification.checked import number, scale
from eqnets.certification.dissipation import Dissipative, Passive
from eqnets.certification.labels import Labels, PairGain, channels_in_words, down, rate_words, ratio_unit, up
from eqnets.errors import InputError


class _Unstated(float):
    """The rate of a claim that states none: 1 in discrete time, c = 0 in continuous time."""


@dataclass(frozen=True)
class WellPosed:
    """w = φ(D11 w + …) has exactly one solution for every state and input, and every φ of the slope interval."""

    kind = "wellposed"

    def for_system(self, labels: Labels) -> WellPosed:
        """The claim with everything that was left open settled for one system."""
        del labels
        return self

    def sentence(self, labels: Labels, rate: float | None = None) -> str:
        """The claim in words."""
        del labels, rate
        return (
            "At every state and input, the equation of the neurons has exactly one solution. "
            "This speaks of the model, not of the plant."
        )


@dataclass(frozen=True)
class Monotone:
    """I − D11 is m-strongly monotone, ⟨Δw, (I − D11)Δw⟩ ≥ m|Δw|², for activations with slopes in [0, 1].

    Splitting methods find the neurons' equilibrium of such a system, and |Δw| ≤ |Δc|/m for w = φ(D11 w + c).

    Args:
        m: > 0.

    Raises:
        InputError: m is not a finite positive number.
    """

    m: float
    kind = "monotone"

    def __post_init__(self) -> None:
        object.__setattr__(self, "m", number("m", self.m))
        if self.m <= 0:
            raise InputError(f"m of a monotone network must be positive, got {self.m:g}.")

    def for_system(self, labels: Labels) -> Monotone:
        """The claim itself: it is the same for every system."""
        del labels
        return self

    def sentence(self, labels: Labels, rate: float | None = None) -> str:
        """The claim in words."""
        del labels, rate
        return (
            f"I − D11 is strongly monotone with m = {down(self.m)}: at every state and input, the equation of the "
            "neurons has exactly one solution. This speaks of the model, not of the plant."
        )


@dataclass(frozen=True)
class Contracting:
    """Any two trajectories under one input approach each other: |Δx_t|_P ≤ rateᵗ |Δx_0|_P, with |Δx|²_P = ΔxᵀPΔx.

    Args:
        rate: in discrete time ᾱ, 0 < ᾱ ≤ 1, per step; with 1 the distance still shrinks strictly, and the certificate
            states the rate it proves. In continuous time c ≥ 0 of e^{−ct}, in 1/s; where no rate is given, c = 0 (and
            again strictly).

    Raises:
        InputError: the rate is not a finite number ≥ 0.
    """

    rate: float = _Unstated(1.0)
    kind = "contracting"

    def __post_init__(self) -> None:
        rate = number("the contraction rate", self.rate)
        if rate < 0:
            raise InputError(f"a contraction rate cannot be negative, got {rate}; give 0 < rate ≤ 1 per step.")
        if not isinstance(self.rate, _Unstated):
            object.__setattr__(self, "rate", rate)

    def for_system(self, labels: Labels) -> Contracting:
        """The claim with the rate settled for discrete or continuous time.

        Args:
            labels: of the system.

        Returns:
            The claim with its own number for a rate.

        Raises:
            InputError: the rate does not fit the time of the system.
        """
        if labels.dt is None:
            return Contracting(0.0 if isinstance(self.rate, _Unstated) else self.rate)
        if not 0 < self.rate <= 1:
            raise InputError(
                f"in discrete time a contraction rate lies in 0 < rate ≤ 1, got {self.rate:g}; "
                "the default, 1, proves contraction and states the rate it finds."
            )
        return Contracting(float(self.rate))

    def sentence(self, labels: Labels, rate: float | None = None) -> str:
        """The claim in words.

        Args:
            labels: of the system.
            rate: the smallest rate that was proved (the largest c in continuous time), if one was.

        Returns:
            A few sentences, every number rounded to the safe side.
        """
        if labels.nx == 0:
            words = "The model has no state: whatever it was fed before is forgotten at once."
        elif labels.dt is None:
            words = (
                "Any two trajectories of this model under the same input approach each other: "
                f"|Δx(t)|_P ≤ e^(−c t) |Δx(0)|_P with c = {down(self.rate)} 1/s"
            )
            if rate is not None and rate > 0:
                words += f" (proved: c = {down(rate)} 1/s, a time constant of {up(1 / rate)} s)"
            words += ", from all initial states and for every input (|Δx|²_P = ΔxᵀPΔx, with the certificate's P)."
        else:
            shrinks = "|Δx_t|_P shrinks at every t,"
            if self.rate < 1:
                shrinks = f"|Δx_t|_P ≤ {up(self.rate)}^t |Δx_0|_P with t"
            words = (
                "Any two trajectories of this model under the same input approach each other: "
                f"{shrinks} in steps of {labels.dt:.6g} s"
            )
            words += f" ({rate_words(rate, labels.dt)})" if rate is not None and 0 < rate < 1 else ""
            words += ", from all initial states and for every input (|Δx|²_P = ΔxᵀPΔx, with the certificate's P)."
        return f"{words} This speaks of the model, not of the plant."


@dataclass(frozen=True)
class Lipschitz:
    """The ℓ2 gain between differences of signals: ‖S_y⁻¹Δy‖ ≤ γ ‖S_u⁻¹Δu‖ from one and the same initial state.

    Args:
        gamma: γ > 0.
        u_scale: the diagonal of S_u, one positive number per input in that input's unit; None: all 1, which needs
            inputs of one unit.
        y_scale: the diagonal of S_y, likewise for the outputs.

    Raises:
        InputError: a number is not finite and positive.
    """

    gamma: float
    u_scale: tuple[float, ...] | None = None
    y_scale: tuple[float, ...] | None = None
    kind = "lipschitz"

    def __post_init__(self) -> None:
        gamma = number("gamma", self.gamma)
        if gamma <= 0:
            raise InputError(f"gamma must be positive, got {gamma:g}.")
        object.__setattr__(self, "gamma", gamma)
        for name in ("u_scale", "y_scale"):
            object.__setattr__(self, name, scale(name, getattr(self, name)))

    def for_system(self, labels: Labels) -> Lipschitz:
        """The claim with scales that fit a system.

        Args:
            labels: of the system.

        Returns:
            The claim itself.

        Raises:
            InputError: a scale has the wrong length, or channels of different units come without a scale.
        """
        for sizes, name, count, units, what in (
            (self.u_scale, "u_scale", labels.nu, labels.u_units, "inputs"),
            (self.y_scale, "y_scale", labels.ny, labels.y_units, "outputs"),
        ):
            if sizes is None and units is not None and len(set(units)) > 1:
                raise InputError(
                    f"the {what} have different units ({', '.join(units)}), so one number gamma has no meaning; "
                    f"give Lipschitz(gamma, {name}=...) with one typical size per channel, in its unit."
                )
            if sizes is not None and len(sizes) != count:
                raise InputError(f"{name} has {len(sizes)} numbers, but the model has {count} {what}; give one each.")
        return self

    def scales(self, labels: Labels) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The diagonals of S_u (nu,) and S_y (ny,), ones where none were given."""
        return self.u_scale or (1.0,) * labels.nu, self.y_scale or (1.0,) * labels.ny

    def pair_gains(self, labels: Labels) -> list[PairGain]:
        """The gain of every pair of channels, γ·y_scale_i/u_scale_j, with its unit."""
        u_scale, y_scale = self.scales(labels)
        rows = []
        for i, output in enumerate(labels.outputs()):
            for j, name in enumerate(labels.inputs()):
                unit = ""
                if labels.y_units and labels.u_units and (labels.y_units[i] or labels.u_units[j]):
                    unit = ratio_unit(labels.y_units[i], labels.u_units[j])
                exact = Fraction(self.gamma) * Fraction(y_scale[i]) / Fraction(u_scale[j])
                gain = float(exact) if exact < 1e308 else math.inf
                rows.append(PairGain(output, name, gain if gain >= exact else math.nextafter(gain, math.inf), unit))
        return rows

    def sentence(self, labels: Labels, rate: float | None = None) -> str:
        """The claim in words.

        Args:
            labels: of the system.
            rate: not said here; the certificate's summary states it.

        Returns:
            A few sentences, every number rounded to the safe side.
        """
        del rate
        u_scale, y_scale = self.scales(labels)
        physical = any(labels.u_units or ()) or any(labels.y_units or ())
        scaled = f"S_u = diag({channels_in_words(labels.inputs(), u_scale, labels.u_units, down)}) and S_y = diag("
        scaled += f"{channels_in_words(labels.outputs(), y_scale, labels.y_units, up)})"
        pairs = self.pair_gains(labels)
        shown = "; ".join(f"{p.output} from {p.input}: {up(p.gain)} {p.unit}".strip() for p in pairs[:12])
        if len(pairs) > 12:
            shown += f"; and {len(pairs) - 12} more pairs"
        when = "at every instant" if labels.nx == 0 else "from one and the same initial state x₀, for signals in ℓ2"
        return (
            f"Whatever two inputs this model is fed, {when}, its outputs differ by "
            f"‖S_y⁻¹Δy‖ ≤ {up(self.gamma)} ‖S_u⁻¹Δu‖, with {scaled}"
            f"{', in physical units' if physical else ', in the signals of the model as it is (no units were given)'}. "
            f"Between single channels: {shown or 'none'}. "
            "An encoder or an estimator of the initial state is not covered. "
            "This speaks of the model, not of the plant."
        )


Claim = WellPosed | Monotone | Contracting | Lipschitz | Dissipative | Passive
WithSupply = Lipschitz | Dissipative | Passive
