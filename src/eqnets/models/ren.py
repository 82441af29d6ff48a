"""Recurrent equilibrium networks whose promise holds for every value of their parameters."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.models.base import REN
from eqnets.models.start import Start, linear_start
from eqnets.models.supply import gain_supply
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI, hinf_norm
from eqnets.system.nonlinearity import Activation
from eqnets.system.witness import Supply, Witness

EPS = 1e-5
"""The default ε in H = T + ε(I + diag T): far above what float64 rounds, even for X = 0. Starts may take less."""


class ContractingREN(REN):
    """Two trajectories under one input approach each other: |Δx_t|_P ≤ ᾱᵗ |Δx_0|_P, for every parameter value.

    Args:
        nu: number of inputs.
        nx: number of states; 0 is a static network.
        nv: number of neurons; 0 is a linear system.
        ny: number of outputs.
        rate: ᾱ in (0, 1].
        activation: a name or an object with slopes in [0, 1].
        acyclic: D11 strictly lower triangular (evaluated without a solver), else full.
        eps: ε in H = T + ε(I + diag T), see `direct`.
        bias: whether bx, bv, by are there.
        generator: source of randomness for the random start, which has a long memory.
        dtype: of the parameters, float32 or float64; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size, the rate, the activation, eps, dt or dtype that cannot be used.
    """

    def __init__(
        self, nu: int, nx: int, nv: int, ny: int, rate: float = 1.0, activation: str | Activation = "relu",
        acyclic: bool = True, *, eps: float = EPS, bias: bool = True, generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__(
            nu, nx, nv, ny, rate, activation, acyclic, eps=eps, bias=bias, generator=generator, dtype=dtype, dt=dt
        )

    @classmethod
    def from_lfr(
        cls, lfr: LFR, witness: Witness, *, rate: float = 1.0, acyclic: bool | None = None, eps: float = EPS,
        dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network that stands for a given system, exactly, with the P and Λ of the witness.

        An `InputError` says so where the witness does not prove the promise, or the system is no REN of this kind.

        Args:
            lfr: the system, discrete, with slopes in [0, 1].
            witness: the P and Λ that prove contraction at `rate`.
            rate: the promise to keep; `witness.rate(lfr)` is the smallest that the witness proves.
            acyclic: None decides by D11.
            eps: ε, taken smaller where the inequality is less definite.
            dtype: of the parameters; float64 keeps the system to about 1e-12.

        Returns:
            The network.
        """
        start, acyclic = given(lfr, witness, acyclic, 1.0)
        network = cls(
            lfr.nu, lfr.nx, lfr.nv, lfr.ny, rate, lfr.activation, acyclic, eps=eps, dtype=dtype, dt=start.lfr.dt or 1.0,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        return network._adopt(start, eps)

    @classmethod
    def from_linear(
        cls, lti: LTI, nv: int = 0, *, rate: float = 1.0, activation: str | Activation = "relu", acyclic: bool = True,
        x_scale: Tensor | None = None, u_scale: Tensor | None = None, eps: float = EPS, bias: bool = True,
        generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network whose input–output map is exactly a given linear system, in its state coordinates.

        The neurons listen (C1, D12, D11, bv are random, v of unit size) and do not act yet (B1 = 0, D21 = 0), so that
        the gradients with respect to B1 and D21 do not vanish. Where ρ(A) ≥ rate an `InputError` says by how much;
        `eqnets.models.shrink` brings a linear system inside and tells the cost.

        Args:
            lti: the linear system, ρ(A) < rate.
            nv: number of neurons.
            rate: ᾱ in (0, 1].
            activation: a name or an object with slopes in [0, 1].
            acyclic: D11 strictly lower triangular, else full.
            x_scale: (nx,) typical size of each state; None: its standard deviation under white inputs of size u_scale.
            u_scale: (nu,) typical size of each input; None is 1.
            eps: ε, taken smaller where the inequality is less definite.
            bias: whether bx, bv, by are there.
            generator: source of randomness.
            dtype: of the parameters; float64 keeps the linear system to about 1e-12.

        Returns:
            The network.
        """
        network = cls(
            lti.nu, lti.nx, nv, lti.ny, rate, activation, acyclic, eps=eps, bias=bias, dtype=dtype, dt=lti.dt,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        start = linear_start(
            lti, nv, rate=network.rate, gamma=None, activation=network.activation, generator=generator,
            x_scale=x_scale, u_scale=u_scale,
        )  # fmt: skip
        return network._adopt(start, eps)


class LipschitzREN(REN):
    """A contracting REN whose gain is bounded: ‖Δy‖ ≤ γ ‖Δu‖ in ℓ2 from one x₀, for every parameter value.

    Args:
        nu: number of inputs.
        nx: number of states; 0 is a static network.
        nv: number of neurons; 0 is a linear system.
        ny: number of outputs.
        gamma: the gain bound γ > 0.
        rate: ᾱ in (0, 1]; below 1 the same P proves both promises.
        activation: a name or an object with slopes in [0, 1].
        acyclic: D11 strictly lower triangular (evaluated without a solver), else full.
        eps: ε in H = T + ε(I + diag T), see `direct`.
        bias: whether bx, bv, by are there.
        generator: source of randomness for the random start, which has a long memory.
        dtype: of the parameters, float32 or float64; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size, gamma, the rate, the activation, eps, dt or dtype that cannot be used.
    """

    def __init__(
        self, nu: int, nx: int, nv: int, ny: int, gamma: float, rate: float = 1.0,
        activation: str | Activation = "relu", acyclic: bool = True, *, eps: float = EPS, bias: bool = True,
        generator: torch.Generator | None = None, dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        if not 0 < float(gamma) < math.inf:
            raise InputError(f"gamma must be a positive number, the largest allowed gain; got {gamma}.")
        self.gamma = float(gamma)
        super().__init__(
            nu, nx, nv, ny, rate, activation, acyclic, eps=eps, bias=bias, generator=generator, dtype=dtype, dt=dt
        )

    def _gain(self) -> float | None:
        return self.gamma

    def _promise(self) -> dict[str, Any]:
        return {"gamma": self.gamma}

    def _supply(self, device: torch.device | None = None) -> Supply | None:
        return gain_supply(self.gamma, self.nu, self.ny, device)

    @classmethod
    def from_lfr(
        cls, lfr: LFR, witness: Witness, *, gamma: float | None = None, rate: float = 1.0, acyclic: bool | None = None,
        eps: float = EPS, dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network that stands for a given system, exactly, with the P and Λ of the witness (scaled to its supply).

        Args:
            lfr: the system, discrete, with slopes in [0, 1].
            witness: P, Λ and the supply they prove: Q = −qI and R = rI up to slack, S = 0, as (−I/γ, 0, γI) or
                (−I, 0, γ²I).
            gamma: the gain bound to promise; None takes the witness' own, √(r/q).
            rate: the rate to promise together with it.
            acyclic: None decides by D11.
            eps: ε, taken smaller where the inequality is less definite.
            dtype: of the parameters; float64 keeps the system to about 1e-12.

        Returns:
            The network.

        Raises:
            InputError: the witness does not prove the promise, or the system is no REN of this kind.
        """
        proved, q = _proved_gain(witness, lfr)
        gamma = proved if gamma is None else float(gamma)
        if proved > gamma * (1 + 1e-12):
            raise InputError(
                f"the witness proves the gain {proved:.9g}, which is above gamma = {gamma:.9g}; ask for gamma >= "
                f"{proved:.9g}, or bring a witness of a smaller gain."
            )
        start, acyclic = given(lfr, witness, acyclic, 1 / (gamma * q))
        network = cls(
            lfr.nu, lfr.nx, lfr.nv, lfr.ny, gamma, rate, lfr.activation, acyclic, eps=eps, dtype=dtype,
            dt=start.lfr.dt or 1.0, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        return network._adopt(start, eps)

    @classmethod
    def from_linear(
        cls, lti: LTI, nv: int = 0, *, gamma: float | None = None, rate: float = 1.0,
        activation: str | Activation = "relu", acyclic: bool = True, x_scale: Tensor | None = None,
        u_scale: Tensor | None = None, eps: float = EPS, bias: bool = True, generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network whose input–output map is exactly a given linear system, in its state coordinates.

        As `ContractingREN.from_linear`, for a gain bound as well.

        Args:
            lti: the linear system, ρ(A) < rate and max_ω ‖C(ᾱe^{jω}I − A)⁻¹B + D‖ < gamma (the H∞ norm for ᾱ = 1).
            nv: number of neurons.
            gamma: the gain bound; it has to be given.
            rate: ᾱ in (0, 1].
            activation: a name or an object with slopes in [0, 1].
            acyclic: D11 strictly lower triangular, else full.
            x_scale: (nx,) typical size of each state; None: its standard deviation under white inputs of size u_scale.
            u_scale: (nu,) typical size of each input; None is 1.
            eps: ε, taken smaller where the inequality is less definite.
            bias: whether bx, bv, by are there.
            generator: source of randomness.
            dtype: of the parameters; float64 keeps the linear system to about 1e-12.

        Returns:
            The network.

        Raises:
            InputError: the linear system does not keep the promise (`eqnets.models.shrink` brings it inside and tells
                the cost), or gamma is missing.
        """
        if gamma is None:
            raise InputError(f"give gamma=, the gain to promise; the linear model's own gain is {hinf_norm(lti):.6g}.")
        network = cls(
            lti.nu, lti.nx, nv, lti.ny, gamma, rate, activation, acyclic, eps=eps, bias=bias, dtype=dtype, dt=lti.dt,
            generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        start = linear_start(
            lti, nv, rate=network.rate, gamma=network.gamma, activation=network.activation, generator=generator,
            x_scale=x_scale, u_scale=u_scale,
        )  # fmt: skip
        return network._adopt(start, eps)


def given(lfr: LFR, witness: Witness, acyclic: bool | None, scale: float) -> tuple[Start, bool]:
    """A system and a witness as a start.

    Args:
        lfr: the system.
        witness: its P and Λ.
        acyclic: as was asked; None decides by D11.
        scale: a factor on P and Λ.

    Returns:
        The start, float64 on the CPU, and whether to build it acyclic.

    Raises:
        InputError: continuous time, other sizes, or a D11 that is not strictly lower triangular.
    """
    if lfr.dt is None:
        raise InputError("this LFR is in continuous time; discretise it first: eqnets.discretise(lfr, dt, 'midpoint').")
    if witness.P.shape != (lfr.nx, lfr.nx) or witness.Lambda.shape != (lfr.nv,):
        raise InputError(
            f"the witness has P {tuple(witness.P.shape)} and Lambda {tuple(witness.Lambda.shape)}, but the LFR has "
            f"nx={lfr.nx} and nv={lfr.nv}; take the witness of the same model."
        )
    if acyclic and not lfr.is_acyclic:
        raise InputError("D11 of this LFR is not strictly lower triangular; use acyclic=False.")
    P, Lambda = (value.detach().to("cpu", torch.float64) * scale for value in (witness.P, witness.Lambda))
    return Start(lfr.detach().to("cpu", torch.float64), (P + P.mT) / 2, Lambda), (
        lfr.is_acyclic if acyclic is None else acyclic
    )


def _proved_gain(witness: Witness, lfr: LFR) -> tuple[float, float]:
    """The gain √(r/q) that a witness' supply states, and q, with Q ≼ −qI and R ≼ rI."""
    supply = witness.supply
    if supply is None:
        raise InputError("this witness proves contraction alone, no gain; use ContractingREN, or bring a supply.")
    Q, S, R = (block.detach().to("cpu", torch.float64) for block in (supply.Q, supply.S, supply.R))
    if Q.shape != (lfr.ny, lfr.ny) or R.shape != (lfr.nu, lfr.nu) or bool(S.any()):
        raise InputError(
            f"the witness' supply is no gain bound between {lfr.nu} inputs and {lfr.ny} outputs: it needs Q ({lfr.ny}, "
            f"{lfr.ny}), R ({lfr.nu}, {lfr.nu}) and S = 0."
        )
    q = -float(torch.linalg.eigvalsh(Q)[-1]) if lfr.ny else None
    r = float(torch.linalg.eigvalsh(R)[-1]) if lfr.nu else None
    q = q if q is not None else 1 / r if r else 1.0  # without outputs (or inputs) the other side tells γ
    r = r if r is not None else 1 / q
    if not (q > 0 and r > 0):
        raise InputError("the witness' supply bounds no gain: Q must be negative definite and R positive definite.")
    return math.sqrt(r / q), q


__all__ = ["EPS", "ContractingREN", "LipschitzREN", "given"]
