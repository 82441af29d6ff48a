"""RENs that keep an incremental supply for every value of their parameters: dissipative, and passive, its best case."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from eqnets.errors import InputError
from eqnets.models.base import REN
from eqnets.models.ren import EPS, given
from eqnets.models.start import linear_start
from eqnets.models.supply import admitted, passive_supply
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.nonlinearity import Activation
from eqnets.system.witness import Supply, Witness


class _SupplyREN(REN):
    """A REN that keeps the supply `_kept`; a subclass says it in its own words."""

    _kept: Supply

    def _supply(self, device: torch.device | None = None) -> Supply:
        return Supply(*(block.to(device) for block in (self._kept.Q, self._kept.S, self._kept.R)))

    @classmethod
    def _of_lfr(
        cls, lfr: LFR, witness: Witness, promise: dict[str, Any], rate: float, acyclic: bool | None, eps: float,
        dtype: torch.dtype,
    ) -> Self:  # fmt: skip
        start, acyclic = given(lfr, witness, acyclic, 1.0)
        network = cls(
            lfr.nu, lfr.nx, lfr.nv, lfr.ny, **promise, rate=rate, activation=lfr.activation, acyclic=acyclic, eps=eps,
            bias=True, dtype=dtype, dt=start.lfr.dt or 1.0, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        return network._adopt(start, eps)

    @classmethod
    def _of_linear(
        cls, lti: LTI, nv: int, promise: dict[str, Any], rate: float, activation: str | Activation, acyclic: bool,
        x_scale: Tensor | None, u_scale: Tensor | None, eps: float, bias: bool, generator: torch.Generator | None,
        dtype: torch.dtype,
    ) -> Self:  # fmt: skip
        network = cls(
            lti.nu, lti.nx, nv, lti.ny, **promise, rate=rate, activation=activation, acyclic=acyclic, eps=eps,
            bias=bias, dtype=dtype, dt=lti.dt, generator=torch.Generator().manual_seed(0),
        )  # fmt: skip
        start = linear_start(
            lti, nv, rate=network.rate, gamma=None, activation=network.activation, generator=generator,
            x_scale=x_scale, u_scale=u_scale, supply=network._supply(),
        )  # fmt: skip
        return network._adopt(start, eps)


class DissipativeREN(_SupplyREN):
    """A contracting REN that keeps a supply, for every parameter value: from one initial state,

        Σ (ΔyᵀQΔy + 2ΔuᵀSΔy + ΔuᵀRΔu) ≥ 0  whatever the two inputs, and at no step does ΔxᵀPΔx grow by more than it.

    A gain bound is (−I/γ, 0, γI), see `LipschitzREN`; passivity (0, I, 0), see `PassiveREN`; with μ, ν > 0 and
    (−2I/(μ + ν), I, −2μν I/(μ + ν)) the map is bi-Lipschitz. D22 is free within what the supply allows.

    Args:
        nu: number of inputs.
        nx: number of states; 0 is a static network.
        nv: number of neurons; 0 is a linear system.
        ny: number of outputs.
        Q: (ny, ny), symmetric, Q ≼ 0; rows of numbers, an array or a tensor.
        S: (nu, ny).
        R: (nu, nu), symmetric; [Q Sᵀ; S R] regular, and some system must be able to keep the supply strictly.
        rate: ᾱ in (0, 1]; below 1 the same P proves both promises.
        activation: a name or an object with slopes in [0, 1].
        acyclic: D11 strictly lower triangular (evaluated without a solver), else full.
        eps: ε in H = T + ε(I + diag T), see `direct`.
        bias: whether bx, bv, by are there.
        generator: source of randomness for the random start.
        dtype: of the parameters, float32 or float64; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size, the supply, the rate, the activation, eps, dt or dtype that cannot be used.
    """  # noqa: D415, DOC502

    def __init__(
        self, nu: int, nx: int, nv: int, ny: int, Q: Any, S: Any, R: Any, rate: float = 1.0,
        activation: str | Activation = "relu", acyclic: bool = True, *, eps: float = EPS, bias: bool = True,
        generator: torch.Generator | None = None, dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        self._kept = admitted(Q, S, R, nu, ny)
        super().__init__(
            nu, nx, nv, ny, rate, activation, acyclic, eps=eps, bias=bias, generator=generator, dtype=dtype, dt=dt
        )

    def _promise(self) -> dict[str, Any]:
        return {name: getattr(self._kept, name).tolist() for name in "QSR"}

    @classmethod
    def from_lfr(
        cls, lfr: LFR, witness: Witness, *, Q: Any = None, S: Any = None, R: Any = None, rate: float = 1.0,
        acyclic: bool | None = None, eps: float = EPS, dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network that stands for a given system, exactly, with the P and Λ of the witness.

        Args:
            lfr: the system, discrete, with slopes in [0, 1].
            witness: P and Λ that prove the supply.
            Q: the supply to promise, with S and R; all None takes the witness' own.
            S: see Q.
            R: see Q.
            rate: the rate to promise together with it.
            acyclic: None decides by D11.
            eps: ε, taken smaller where the inequality is less definite.
            dtype: of the parameters; float64 keeps the system to about 1e-12.

        Returns:
            The network.

        Raises:
            InputError: the witness does not prove the promise, or the system is no REN of this kind.
        """
        blocks = {"Q": Q, "S": S, "R": R}
        missing = [name for name, block in blocks.items() if block is None]
        if len(missing) == 3 and witness.supply is not None:
            blocks = {name: getattr(witness.supply, name) for name in "QSR"}
        elif missing:
            raise InputError(f"give Q, S and R of the supply to promise; {', '.join(missing)} is missing here.")
        return cls._of_lfr(lfr, witness, blocks, rate, acyclic, eps, dtype)

    @classmethod
    def from_linear(
        cls, lti: LTI, nv: int = 0, *, Q: Any, S: Any, R: Any, rate: float = 1.0, activation: str | Activation = "relu",
        acyclic: bool = True, x_scale: Tensor | None = None, u_scale: Tensor | None = None, eps: float = EPS,
        bias: bool = True, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network whose input–output map is exactly a given linear system, in its state coordinates.

        As `ContractingREN.from_linear`, for a supply as well.

        Args:
            lti: the linear system, strictly dissipative with the supply; `eqnets.models.shrink(lti, supply=…)` brings
                one inside and tells the cost.
            nv: number of neurons.
            Q: (ny, ny), of the supply.
            S: (nu, ny).
            R: (nu, nu).
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
            The network. An InputError says so where the linear system does not keep the promise.
        """
        return cls._of_linear(
            lti, nv, {"Q": Q, "S": S, "R": R}, rate, activation, acyclic, x_scale, u_scale, eps, bias, generator, dtype
        )


class PassiveREN(_SupplyREN):
    """A contracting, incrementally passive REN: from one initial state, whatever the two inputs,

        Σ ⟨Δu, Δy⟩ ≥ ν Σ|Δu|² + ε Σ|Δy|²  for every parameter value (strictly passive for ν = ε = 0).

    Its D22 + D22ᵀ is positive definite: a sampled system whose output does not see its input at once is never passive
    (a shortage, ν < 0, lets it be).

    Args:
        nu: number of inputs.
        nx: number of states; 0 is a static network.
        nv: number of neurons; 0 is a linear system.
        ny: number of outputs, nu.
        input_strict: ν; above 0 input-strictly passive, below 0 a shortage of passivity.
        output_strict: ε ≥ 0, 4νε < 1; above 0 output-strictly passive, and the gain is at most 1/ε.
        rate: ᾱ in (0, 1]; below 1 the same P proves both promises.
        activation: a name or an object with slopes in [0, 1].
        acyclic: D11 strictly lower triangular (evaluated without a solver), else full.
        eps: ε in H = T + ε(I + diag T), see `direct`.
        bias: whether bx, bv, by are there.
        generator: source of randomness for the random start.
        dtype: of the parameters, float32 or float64; None is torch's default.
        dt: the sample time in seconds.

    Raises:
        InputError: a size, the passivity, the rate, the activation, eps, dt or dtype that cannot be used.
    """  # noqa: D415, DOC502

    def __init__(
        self, nu: int, nx: int, nv: int, ny: int, input_strict: float = 0.0, output_strict: float = 0.0,
        rate: float = 1.0, activation: str | Activation = "relu", acyclic: bool = True, *, eps: float = EPS,
        bias: bool = True, generator: torch.Generator | None = None, dtype: torch.dtype | None = None, dt: float = 1.0,
    ) -> None:  # fmt: skip
        self.input_strict, self.output_strict = float(input_strict), float(output_strict)
        self._kept = passive_supply(nu, ny, self.input_strict, self.output_strict)
        super().__init__(
            nu, nx, nv, ny, rate, activation, acyclic, eps=eps, bias=bias, generator=generator, dtype=dtype, dt=dt
        )

    def _promise(self) -> dict[str, Any]:
        return {"input_strict": self.input_strict, "output_strict": self.output_strict}

    @classmethod
    def from_lfr(
        cls, lfr: LFR, witness: Witness, *, input_strict: float = 0.0, output_strict: float = 0.0, rate: float = 1.0,
        acyclic: bool | None = None, eps: float = EPS, dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network that stands for a given system, exactly, with the P and Λ of the witness.

        Args:
            lfr: the system, discrete, with slopes in [0, 1].
            witness: P and Λ that prove passivity with the supply (−2εI, I, −2νI).
            input_strict: ν to promise.
            output_strict: ε to promise.
            rate: the rate to promise together with it.
            acyclic: None decides by D11.
            eps: ε, taken smaller where the inequality is less definite.
            dtype: of the parameters; float64 keeps the system to about 1e-12.

        Returns:
            The network. An InputError says so where the witness does not prove the promise.
        """
        promise = {"input_strict": input_strict, "output_strict": output_strict}
        return cls._of_lfr(lfr, witness, promise, rate, acyclic, eps, dtype)

    @classmethod
    def from_linear(
        cls, lti: LTI, nv: int = 0, *, input_strict: float = 0.0, output_strict: float = 0.0, rate: float = 1.0,
        activation: str | Activation = "relu", acyclic: bool = True, x_scale: Tensor | None = None,
        u_scale: Tensor | None = None, eps: float = EPS, bias: bool = True, generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> Self:  # fmt: skip
        """The network whose input–output map is exactly a given linear system, in its state coordinates.

        As `ContractingREN.from_linear`, for passivity as well.

        Args:
            lti: the linear system, strictly passive as promised (G + Gᴴ ≻ 2νI + 2εGᴴG on the unit circle).
            nv: number of neurons.
            input_strict: ν to promise.
            output_strict: ε to promise.
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
            The network. An InputError says so where the linear system does not keep the promise.
        """
        promise = {"input_strict": input_strict, "output_strict": output_strict}
        return cls._of_linear(
            lti, nv, promise, rate, activation, acyclic, x_scale, u_scale, eps, bias, generator, dtype
        )  # fmt: skip
