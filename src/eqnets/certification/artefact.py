"""The certificate: what was claimed, about which weights, and the numbers that prove it; saved, and checked anew."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from eqnets.certification.claim import Claim, Lipschitz, WellPosed
from eqnets.certification.document import Document, label_entries, read, write
from eqnets.certification.enclosure import Array
from eqnets.certification.evidence import Evidence, prove
from eqnets.certification.labels import Labels, PairGain, down, rate_words, up
from eqnets.errors import CertificateError, InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.witness import Supply, Witness


@dataclass(frozen=True, eq=False)
class Certificate:
    """A proved claim about one LFR.

    Args:
        claim: what is proved, with the rate and scales settled.
        margin: the smallest eigenvalue of the Jacobi-scaled inequality; above 0, at most 1.
        method: how it was proved, and where the witness came from.
        digest: the sha256 of the LFR, `lfr.digest()`.
        witness: P and Λ, and the supply that they prove.
        labels: sizes, sample time, names and units of the LFR.
        rate: the smallest contraction rate that P and Λ prove (largest c in continuous time), or None.
    """

    claim: Claim
    margin: float
    method: str
    digest: str
    witness: Witness
    labels: Labels
    rate: float | None = None

    @classmethod
    def of(cls, claim: Claim, lfr: LFR, P: Array, Lambda: Array, evidence: Evidence, method: str) -> Certificate:
        """The certificate that evidence for (claim, lfr, P, Λ) makes."""
        labels = Labels.of(lfr)
        P = np.zeros((0, 0)) if isinstance(claim, WellPosed) else P
        supply = None
        if isinstance(claim, Lipschitz):
            u_scale, y_scale = (torch.tensor(s, dtype=torch.float64) for s in claim.scales(labels))
            S = torch.zeros(labels.nu, labels.ny, dtype=torch.float64)
            supply = Supply(-torch.diag(y_scale**-2), S, claim.gamma**2 * torch.diag(u_scale**-2))
        witness = Witness(torch.from_numpy(P.copy()), torch.from_numpy(Lambda.copy()), supply)
        return cls(claim, evidence.margin, method, lfr.digest(), witness, labels, evidence.rate)

    @classmethod
    def load(cls, path: str | os.PathLike[str], lfr: LFR) -> Certificate:
        """Read a certificate and prove it anew for `lfr`; see `verify`, which returns only the claim."""
        return _check(path, lfr)

    @property
    def dt(self) -> float | None:
        """The sample time in seconds, None in continuous time."""
        return self.labels.dt

    @property
    def time_constant(self) -> float | None:
        """−dt/ln ᾱ in seconds (1/c in continuous time) of the proved rate; None where no rate below 1 is proved."""
        if self.rate is None or self.labels.nx == 0:
            return None
        if self.labels.dt is None:
            return 1 / self.rate if self.rate > 0 else None
        return -self.labels.dt / math.log(self.rate) if 0 < self.rate < 1 else None

    @property
    def sentence(self) -> str:
        """The claim in words and physical units, generated from its numbers."""
        return self.claim.sentence(self.labels, self.rate)

    def pair_gains(self) -> list[PairGain]:
        """The proved gain of every pair of channels, with units; empty unless the claim is a gain."""
        return self.claim.pair_gains(self.labels) if isinstance(self.claim, Lipschitz) else []

    def summary(self) -> str:
        """A few lines for a terminal or a report."""
        lines = [f"claim    {self.sentence}"]
        if isinstance(self.claim, Lipschitz) and self.rate is not None and self.labels.nx:
            if self.labels.dt is None:
                words = f"proved: c = {down(self.rate)} 1/s" if self.rate > 0 else ""
            else:
                words = rate_words(self.rate, self.labels.dt) if 0 < self.rate < 1 else ""
            lines += [f"forgets  also contracting ({words})"] if words else []
        for pair in self.pair_gains():
            lines.append(f"gain     {pair.output} from {pair.input}: {up(pair.gain)} {pair.unit}".rstrip())
        lines.append(f"margin   {down(self.margin, 3)} (smallest eigenvalue of the scaled inequality; proved positive)")
        lines.append(f"method   {self.method}")
        lines.append(f"model    sha256 {self.digest}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate as JSON; a file that is there is replaced.

        Args:
            path: of the file.
        """
        document = Document(
            self.claim,
            self.digest,
            self.witness.P.numpy(),
            self.witness.Lambda.numpy(),
            label_entries(self.labels),
        )
        unchecked = {"sentence": self.sentence, "margin": self.margin, "method": self.method}
        target = Path(path)
        scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
        scratch.write_text(write(document, unchecked), encoding="utf-8")
        scratch.replace(target)


def verify(path: str | os.PathLike[str], lfr: LFR) -> Claim:
    """Check a certificate file against an LFR: digest, format, and the whole proof again.

    A `CertificateError` says in one sentence that the file is no certificate, is about another LFR, or that its
    inequality does not hold.

    Args:
        path: of the file.
        lfr: the system that it is said to be about.

    Returns:
        The claim, now proved for `lfr`.
    """
    return _check(path, lfr).claim


def _check(path: str | os.PathLike[str], lfr: LFR) -> Certificate:
    name = Path(path).name
    try:
        document = read(Path(path))
        labels = Labels.of(lfr)
        if document.digest != lfr.digest():
            raise CertificateError(
                f"it is about other weights: the file says sha256 {document.digest[:12]}…, the model has "
                f"{lfr.digest()[:12]}…; certify the model anew"
            )
        for key, label in label_entries(labels).items():  # no part of the digest, but of what the numbers mean
            if document.labels[key] != label:
                raise CertificateError(f"its {key} are {document.labels[key]}, the model's are {label}")
        claim, P, Lambda = document.claim.for_system(labels), document.P, document.Lambda
        expected = 0 if isinstance(claim, WellPosed) else lfr.nx
        if P.shape[0] != expected or Lambda.shape != (lfr.nv,):
            raise CertificateError(
                f"P has {P.shape[0]} rows and Lambda {len(Lambda)} numbers, the model needs {expected} and {lfr.nv}"
            )
        evidence = prove(claim, lfr, P, Lambda)
    except (CertificateError, NotCertified, InputError) as error:
        raise CertificateError(f"the certificate {name} does not hold: {str(error).rstrip('.')}.") from error
    return Certificate.of(claim, lfr, P, Lambda, evidence, f"{evidence.method}; witness: from the file")
