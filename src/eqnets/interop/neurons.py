"""The neurons at a fixed cost: w = φ(D11 w + b) in a number of steps that is known before the code is written.

    r ← K b,   then `steps` times   r ← C (p∘φ(r) − t∘r) + K b,   then   w = φ(r)

An acyclic D11 is C = D11, K = I, p = 1, t = 0: substitution, exact after as many steps as the longest path of D11 has
edges. A full D11 is Peaceman–Rachford splitting: a contraction, whose factor is known from the certificate's Λ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from eqnets.certification import Certificate, WellPosed, certify
from eqnets.errors import InputError, NotCertified
from eqnets.system.lfr import LFR

MAX_STEPS = 1000
"""More steps than this, for every sample, are refused: such a model does not belong on a target."""

_NARROWEST = 1e-3  # a neuron of constant slope is given this width: its ψ is then 0, which is monotone with any


@dataclass(frozen=True, eq=False)
class Neurons:
    """The fixed-cost solution of w = φ(D11 w + b), float64.

    Args:
        C: (nv, nv).
        K: (nv, nv).
        p: (nv,).
        t: (nv,).
        steps: how often r is renewed.
        factor: q, each step's contraction of the error; 0 where the steps are exact.
        metric: (nv,) the weights m of the norm ‖m∘(r − v)‖ in which it contracts.
    """

    C: np.ndarray
    K: np.ndarray
    p: np.ndarray
    t: np.ndarray
    steps: int
    factor: float
    metric: np.ndarray

    @property
    def exact(self) -> bool:
        """Whether D11 is acyclic, so that w has no error but rounding."""
        return self.factor == 0.0

    @property
    def sentence(self) -> str:
        """What it costs and how far it is from the truth, in words."""
        if self.exact:
            return "D11 is acyclic: the neurons follow by substitution, exactly"
        return (
            f"D11 is full: {self.steps} Peaceman-Rachford steps a sample, each of which multiplies the error of v by "
            f"at most {self.factor:.6f} (in the norm that Lambda weights), so all by {self.factor**self.steps:.1e}"
        )

    @property
    def facts(self) -> dict[str, str | int | float]:
        """The same for a machine: the method, the steps, the contraction of each, and what all leave of the error."""
        return {
            "method": "substitution" if self.exact else "Peaceman-Rachford",
            "steps": self.steps,
            "contraction_per_step": self.factor,
            "error_factor_at_most": 0.0 if self.exact else self.factor**self.steps,
        }


def fixed_cost(lfr: LFR, certificate: Certificate | None, eps: float) -> Neurons:
    """The neurons of an LFR in a fixed number of steps.

    Args:
        lfr: the system, float64 on the CPU.
        certificate: of this LFR; its Λ bounds the error where D11 is full. None: `WellPosed` is proved first.
        eps: what the error of the start is multiplied by, at most: the rounding unit of the target.

    Returns:
        The steps.

    Raises:
        NotCertified: D11 is full, and nothing proves that its equation has one solution.
        InputError: it would take more than `MAX_STEPS` steps.
    """
    D11, nv = lfr.D11.numpy(), lfr.nv
    if lfr.is_acyclic:
        return Neurons(D11, np.eye(nv), np.ones(nv), np.zeros(nv), _longest_path(D11), 0.0, np.ones(nv))
    try:
        evidence = certificate if certificate is not None else certify(WellPosed(), lfr, proof="float64")
    except NotCertified as error:
        raise NotCertified(
            "D11 is full and nothing proves that w = φ(D11 w + b) has one solution, so no number of steps is enough; "
            f"give the model's certificate, or export a model with acyclic=True. {error}"
        ) from error
    low, high = (bound.numpy() for bound in lfr.activation.slopes(nv))
    width = np.maximum(high - low, _NARROWEST)
    # ψ(v) = (φ(v) − low v)/width has slopes in [0, 1] and is the resolvent of a monotone map; v = T ψ + Da⁻¹ b
    Da_inverse = np.linalg.inv(np.eye(nv) - D11 * low)
    T = Da_inverse @ (D11 * width)
    V = np.linalg.inv(2 * np.eye(nv) - T)  # the resolvent of s ↦ (I − T) s − Da⁻¹ b, with step 1
    C = 2 * V - np.eye(nv)
    metric = np.sqrt(evidence.witness.Lambda.numpy()) * width
    # 2ψ − 1 does not expand in any diagonal metric, and I − T is monotone in this one: C contracts by
    q = max(float(np.linalg.norm(metric[:, None] * C / metric, 2)), eps)
    steps = math.ceil(math.log(eps) / math.log(q)) if q < 1 else MAX_STEPS + 1
    if steps > MAX_STEPS:
        raise InputError(
            f"D11 is full and its steps contract by {q:.6f} only: more than {MAX_STEPS} would be needed for every "
            "sample; export a model with acyclic=True, or one with a larger margin."
        )
    return Neurons(C, 2 * V @ Da_inverse, 2 / width, 1 + 2 * low / width, steps, q, metric)


def _longest_path(D11: np.ndarray) -> int:
    level = np.zeros(len(D11), dtype=int)
    for i, row in enumerate(D11):
        before = np.flatnonzero(row)
        level[i] = level[before].max() + 1 if len(before) else 0
    return int(level.max(initial=0))
