"""certify and tighten for convolutional networks, by their blocks over frequencies (`frequencies`)."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from eqnets.certification.claim import Claim, Lipschitz, Monotone, WellPosed
from eqnets.certification.enclosure import Array
from eqnets.certification.factor import golden
from eqnets.certification.frequencies import enclosed, gain_blocks, monotone_blocks, prove_all
from eqnets.certification.labels import Labels, down, up
from eqnets.certification.proof import Proof
from eqnets.certification.refuse import slopes_in_0_1
from eqnets.errors import InputError, NotCertified
from eqnets.system.taps import ConvLFR

METHOD = "shifted Cholesky with a rigorous rounding bound (float64), a block per frequency, roots of unity enclosed"
_NOWHERE = Labels(0, 0, 0, None)  # no channel of a picture has a name


@dataclass(frozen=True, eq=False)
class ConvCertificate:
    """A proved claim about one convolutional network.

    Args:
        claim: what is proved.
        margin: the smallest eigenvalue of a Jacobi-scaled block; above 0, at most 1.
        method: how it was proved.
        digest: the sha256 of the network, `network.digest()`.
        Lambda: the multiplier of every neuron, one number.
        network: the network itself, detached.
    """

    claim: Claim
    margin: float
    method: str
    digest: str
    Lambda: float
    network: ConvLFR

    @property
    def sentence(self) -> str:
        """The claim in words, every number rounded to the safe side."""
        if isinstance(self.claim, Lipschitz):
            return (
                f"Whatever two pictures this network is fed, its neurons differ by ‖Δw‖ ≤ {up(self.claim.gamma)} ‖Δu‖, "
                "with Euclidean norms over all pixels and channels. This speaks of the model, not of the plant."
            )
        return self.claim.sentence(_NOWHERE)

    def summary(self) -> str:
        """A few lines for a terminal or a report."""
        return "\n".join([
            f"claim    {self.sentence}",
            f"margin   {down(self.margin, 3)} (smallest eigenvalue of a scaled block; proved positive)",
            f"method   {self.method}",
            f"model    sha256 {self.digest}",
        ])  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Refused: a file is for the checker, which knows integers only.

        Args:
            path: of the file that is not written.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"the certificate is not written to {os.fspath(path)!r}: the blocks of a convolution hold cosines, which "
            "are no fractions, and eqnets-verify computes with fractions alone. Remedy: of a small network, certify "
            "and save network.unrolled(); else keep the network, certify proves the claim anew in seconds."
        )


def certify_convolutional(claim: Claim, network: ConvLFR) -> ConvCertificate:
    """Prove `Monotone`, `WellPosed` or `Lipschitz` of a convolutional network.

    Args:
        claim: `Lipschitz` without scales: from the picture u to all neurons w; a linear readout V multiplies γ by ‖V‖.
        network: explicit, at the taps that are deployed.

    Returns:
        The certificate.

    Raises:
        NotCertified: the claim does not hold, or cannot be proved with one multiplier for all neurons.
        InputError: the claim does not fit, or a tap is not finite.
    """  # noqa: DOC502
    _check(claim, network)
    network, Lambda = network.detach(), 1.0
    if isinstance(claim, Lipschitz):
        Lambda, smallest = best_multiplier(network)
        if not claim.gamma > smallest:
            _gain_fails(claim, smallest)
        multipliers = np.full(len(network.b), Lambda)
        proof = prove_all(
            block for _, W, U in enclosed(network) for block in gain_blocks(W, U, multipliers, claim.gamma)
        )
        if not proof.holds:
            _gain_fails(claim, smallest)
    else:
        m = claim.m if isinstance(claim, Monotone) else 0.0
        proof = prove_all(block for _, W, _ in enclosed(network) for block in monotone_blocks(W, m))
        if not proof.holds:
            _monotone_fails(network, m, proof)
    return ConvCertificate(claim, proof.margin, METHOD, network.digest(), Lambda, network)


def tighten_convolutional(claim: Claim, network: ConvLFR) -> ConvCertificate:
    """The largest m, or the smallest γ that one multiplier for all neurons proves.

    Args:
        claim: `Monotone` or `Lipschitz`; its number is not looked at.
        network: explicit.

    Returns:
        The certificate, within about 1e-9 of the limit.

    Raises:
        NotCertified: the claim holds with no number.
        InputError: there is no number in the claim.
    """  # noqa: DOC502
    _check(claim, network)
    match claim:
        case Monotone():
            most, norm = margin(network)[0], 1 + len(network.b)
            for slack in (1e-12, 1e-10, 1e-8):
                try:
                    return certify_convolutional(Monotone(max(most - slack * norm, 1e-300)), network)
                except NotCertified as error:
                    failure = error
            raise failure
        case Lipschitz():
            gamma = best_multiplier(network)[1]
            return certify_convolutional(Lipschitz(gamma * (1 + 1e-6) if math.isfinite(gamma) else 1.0), network)
    raise InputError(f"there is no number to tighten in {type(claim).__name__}; give Monotone or Lipschitz.")


def margin(network: ConvLFR) -> tuple[float, Array]:
    """The smallest eigenvalue of I − (W + Wᵀ)/2, as computed, and the frequency where it is, in turns."""
    least, where = math.inf, np.zeros(2)
    for some, W, _ in enclosed(network):
        values = np.linalg.eigvalsh(_symmetric(W[0].mid + 1j * W[1].mid))[:, 0]
        if values.min() < least:
            least, where = float(values.min()), some[int(values.argmin())] / np.array(network.grid)
    return least, where


def best_multiplier(network: ConvLFR) -> tuple[float, float]:
    """The λ of Λ = λI with the smallest gain, and that gain, as computed; inf where the network is not monotone.

    With H(ω) = I − (W(ω) + W(ω)ᴴ)/2 = Q D Qᴴ, (★) says γ² > λ² λ_max(UᴴQ (2λD − I)⁻¹ QᴴU) for every frequency: no
    larger than ‖U‖/m, which is this with D and U at their worst at once.
    """  # noqa: DOC201
    D, seen = [], []
    for _, W, U in enclosed(network):
        values, vectors = np.linalg.eigh(_symmetric(W[0].mid + 1j * W[1].mid))
        D.append(values)
        seen.append(np.swapaxes(vectors.conj(), 1, 2) @ (U[0].mid + 1j * U[1].mid))
    values, inputs = np.concatenate(D), np.concatenate(seen)
    if values.min() <= 0:
        return 1.0, math.inf

    def gain(multiplier: float) -> float:
        weight = multiplier**2 / (2 * multiplier * values - 1)
        root = np.sqrt(weight)[:, :, None] * inputs
        return float(np.linalg.norm(root, 2, axis=(1, 2)).max())

    found = golden(lambda s: (1 + math.exp(s)) / (2 * float(values.min())), gain, -12.0, 12.0)
    return found.value, found.gamma


def _symmetric(W: np.ndarray) -> np.ndarray:
    return np.eye(W.shape[-1]) - (W + np.swapaxes(W.conj(), 1, 2)) / 2


def _check(claim: Claim, network: ConvLFR) -> None:
    if not isinstance(claim, Monotone | WellPosed | Lipschitz):
        raise InputError(
            f"{type(claim).__name__} is not proved by frequencies; a convolutional network can be certified as "
            "WellPosed(), Monotone(m) or Lipschitz(gamma)."
        )
    if isinstance(claim, Lipschitz) and (claim.u_scale or claim.y_scale):
        raise InputError("the pixels of a picture have one unit: give Lipschitz(gamma) without scales.")
    if not all(bool(matrix.isfinite().all()) for taps in (network.W, network.U) for matrix in taps.at.values()):
        raise InputError("a tap of the network holds NaN or infinity; nothing can be certified about it.")
    slopes_in_0_1(claim, network.activation)


def _monotone_fails(network: ConvLFR, m: float, proof: Proof) -> NoReturn:
    most, where = margin(network)
    remedy = f"claim m = {most - 1e-10 * len(network.b):.12g} or less" if most > 0 else "make W smaller"
    raise NotCertified(
        f"not certified: at the frequency ({where[0]:.4g}, {where[1]:.4g}) turns per cell the smallest eigenvalue of "
        f"I − (W + Wᵀ)/2 is {most:.12g}, which does not reach m = {m:.12g}. Remedy: {remedy}.",
        block="monotone", margin=proof.margin,
    )  # fmt: skip


def _gain_fails(claim: Lipschitz, smallest: float) -> NoReturn:
    if not math.isfinite(smallest):
        raise NotCertified(
            "not certified: the network is not monotone, so that one multiplier for all neurons proves no gain. "
            "Remedy: make W smaller, or train a MonotoneConvDEQ.", block="neurons",
        )  # fmt: skip
    raise NotCertified(
        f"not certified: the smallest gain that one multiplier for all neurons proves is {smallest:.8g}, and gamma is "
        f"{claim.gamma:.8g}. Remedy: claim gamma = {up(smallest * (1 + 1e-6), 8)}, tighten(claim, network) does that.",
        block="gain", margin=claim.gamma - smallest,
    )  # fmt: skip
