"""The certificate: what was claimed, about which weights, and the numbers that prove it; saved, and checked anew.

A file that is read is proved again by `eqnets_verify`, the checker that shares no code with the prover.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eqnets_verify
from eqnets.certification import document
from eqnets.certification.around import AtPoint
from eqnets.certification.claim import Claim, Contracting, Lipschitz, Monotone, WellPosed
from eqnets.certification.enclosure import Array
from eqnets.certification.evidence import FLOAT64, INTEGERS, Evidence, prove
from eqnets.certification.inequality import supply_of
from eqnets.certification.labels import Labels, PairGain, down, label_entries, margin_line, rate_words, up
from eqnets.certification.lower_bound import LowerBound, lower_bound
from eqnets.certification.saved import write_files
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
        evidence: the margin, the rate and the factors of the proof.
        lfr: the system itself, detached.
        bound: what an attack on the claim found, by `attacked` or `three_numbers`; nobody checks it.
    """

    claim: Claim
    margin: float
    method: str
    digest: str
    witness: Witness
    labels: Labels
    evidence: Evidence
    lfr: LFR
    bound: LowerBound | None = None

    @classmethod
    def of(cls, claim: Claim, lfr: LFR, P: Array, Lambda: Array, evidence: Evidence, method: str) -> Certificate:
        """The certificate that evidence for (claim, lfr, P, Λ) makes."""
        labels = Labels.of(lfr)
        if isinstance(claim, WellPosed | Monotone):
            P = np.zeros((0, 0))
        supply = None
        if not isinstance(claim, WellPosed | Monotone | Contracting):
            supply = Supply(*(torch.from_numpy(part.mid.copy()) for part in supply_of(claim, labels)))
        witness = Witness(torch.from_numpy(P.copy()), torch.from_numpy(Lambda.copy()), supply)
        return cls(claim, evidence.margin, method, lfr.digest(), witness, labels, evidence, lfr.detach())

    @classmethod
    def load(cls, path: str | os.PathLike[str], lfr: LFR) -> Certificate:
        """Read a certificate and prove it anew for `lfr`; see `verify`, which returns only the claim."""
        found = proved(path, lfr)
        if not isinstance(found, Certificate):
            raise CertificateError(
                f"the certificate {Path(path).name} speaks of one equilibrium; read it with eqnets.verify."
            )
        return found

    @property
    def rate(self) -> float | None:
        """The smallest contraction rate that P and Λ prove (largest c in continuous time), or None."""
        return self.evidence.rate

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
    def certified(self) -> float | None:
        """U, the claim's own number as it is proved: γ, m, or the rate (None where none below 1 is proved).

        For a supply 0, which minus the supply never exceeds; None for `WellPosed`.
        """
        match self.claim:
            case Lipschitz():
                return self.claim.gamma
            case Contracting():
                return self.rate
            case Monotone():
                return self.claim.m
        return None if isinstance(self.claim, WellPosed) else 0.0

    @property
    def diagnostics(self) -> dict[str, float | None]:
        """L1 attained, L2 of the best frozen slopes, U certified (None: not known); empty before an attack."""
        if self.bound is None:
            return {}
        numbers = {
            "L1 attained": self.bound.attained,
            "L2 frozen slopes": self.bound.pattern,
            "U certified": self.certified,
        }
        return {name: x if x is not None and math.isfinite(x) else None for name, x in numbers.items()}

    def attacked(self, **options: Any) -> Certificate:
        """The certificate with an attack on its claim beside it, which takes seconds: L1 and L2, and the worst pair.

        Args:
            options: of `lower_bound`: time, tries, steps, generator, patterns.

        Returns:
            The certificate, with `bound`; as it is where its claim has no number (`WellPosed`).
        """
        if isinstance(self.claim, WellPosed):
            return self
        return replace(self, bound=lower_bound(self.claim, self.lfr, **options))

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
        if not isinstance(self.claim, Contracting) and self.rate is not None and self.labels.nx:
            if self.labels.dt is None:
                words = f"proved: c = {down(self.rate)} 1/s" if self.rate > 0 else ""
            else:
                words = rate_words(self.rate, self.labels.dt) if 0 < self.rate < 1 else ""
            lines += [f"forgets  also contracting ({words})"] if words else []
        for pair in self.pair_gains():
            lines.append(f"gain     {pair.output} from {pair.input}: {up(pair.gain)} {pair.unit}".rstrip())
        lines.append(margin_line(self.margin))
        if self.diagnostics:
            grows = isinstance(self.claim, Monotone) or (isinstance(self.claim, Contracting) and self.dt is None)
            shown = ["not known" if x is None else f"{x:.6g}" for x in self.diagnostics.values()]
            U = "not known" if self.certified is None else (down if grows else up)(self.certified)
            lines.append(
                f"beside   L1 attained {shown[0]}, L2 frozen slopes {shown[1]} (both computed), U certified {U}"
            )
        lines.append(f"method   {self.method}")
        lines.append(f"model    sha256 {self.digest}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate as JSON that `eqnets-verify` checks; a file that is there is replaced.

        Args:
            path: of the file. Where it ends in `.cert.json`, the weights are written beside it, `*.safetensors`, and
                the certificate is bound to the sha256 of that file; else it is bound to the model's digest alone, which
                covers every bit of the weights, the activation and the sample time.

        Raises:
            NotCertified: the claim was proved in float64, and cannot be proved in exact arithmetic.
        """  # noqa: DOC502
        P, Lambda = self.witness.P.numpy(), self.witness.Lambda.numpy()
        evidence = self.evidence
        if not evidence.factors and evidence.method == FLOAT64.method:
            evidence = prove(self.claim, self.lfr, P, Lambda, INTEGERS)
        unchecked = {
            "sentence": self.sentence, "margin": evidence.margin, "method": self.method,
            **({} if self.bound is None else {"diagnostics": self.diagnostics, "worst pair": self.bound.pair}),
        }  # fmt: skip
        rate = evidence.rate if "rate" in evidence.factors else None
        write_files(path, self.lfr, self.claim, P, Lambda, evidence.factors, rate=rate, unchecked=unchecked)


def verify(path: str | os.PathLike[str], lfr: LFR) -> Claim | AtPoint:
    """Check a certificate file against an LFR: digest, format, and the whole proof again, by `eqnets_verify`.

    A `CertificateError` says in one sentence that the file is no certificate, is about another LFR, or that its
    inequality does not hold. Files of format version 1, which hold no exact proof, are proved anew in float64.

    Args:
        path: of the file.
        lfr: the system that it is said to be about.

    Returns:
        The claim, now proved for `lfr`.
    """
    found = proved(path, lfr)
    return found.claim if isinstance(found, Certificate) else document.around_from_entries(found.claim)


def proved(path: str | os.PathLike[str], lfr: LFR) -> Certificate | eqnets_verify.Verdict:
    """Check a certificate file as `verify` does; what was proved, with its `sentence` and `digest`.

    Args:
        path: of the file.
        lfr: the system that it is said to be about.

    Returns:
        A certificate; of a claim about one equilibrium the checker's verdict.

    Raises:
        CertificateError: it does not hold.
    """
    name = Path(path).name
    try:
        entries = document.parse(Path(path))
        return _check_version_1(entries, lfr) if entries["version"] == 1 else _check_exactly(entries, lfr)
    except (CertificateError, NotCertified, InputError, eqnets_verify.Rejected) as error:
        raise CertificateError(f"the certificate {name} does not hold: {str(error).rstrip('.')}.") from error


def _check_exactly(entries: dict, lfr: LFR) -> Certificate | eqnets_verify.Verdict:
    labels = Labels.of(lfr)
    if entries.get("activation") != lfr.activation.name or entries.get("dt") != lfr.dt:
        raise CertificateError(
            f"it is about other weights: activation {entries.get('activation')!r} and dt {entries.get('dt')!r}, the "
            f"model has {lfr.activation.name!r} and {lfr.dt!r}"
        )
    blocks = {
        name: eqnets_verify.Block(tuple(block.shape), block.detach().to("cpu", torch.float64).flatten().tolist())
        for name, block in lfr.blocks().items()
    }
    verdict = eqnets_verify.check(entries, blocks, label_entries(labels))
    if verdict.claim["kind"] in (document.Around.kind, document.Storage.kind):
        return verdict
    claim = document.claim_from_entries(verdict.claim).for_system(labels)
    P = np.zeros((len(entries["P"]),) * 2)
    for i, row in enumerate(entries["P"]):
        P[i, : i + 1] = P[: i + 1, i] = row
    Lambda = np.array(entries["Lambda"], dtype=np.float64)
    evidence = prove(claim, lfr, P, Lambda, INTEGERS)  # once more, by the prover: the margin, and the rate
    return Certificate.of(claim, lfr, P, Lambda, evidence, f"{evidence.method}; witness: from the file")


def _check_version_1(entries: dict, lfr: LFR) -> Certificate:
    old, labels = document.read_version_1(entries), Labels.of(lfr)
    if old.digest != lfr.digest():
        raise CertificateError(
            f"it is about other weights: the file says sha256 {old.digest[:12]}…, the model has "
            f"{lfr.digest()[:12]}…; certify the model anew"
        )
    for key, label in label_entries(labels).items():  # no part of the digest, but of what the numbers mean
        if old.labels[key] != label:
            raise CertificateError(f"its {key} are {old.labels[key]}, the model's are {label}")
    claim, P, Lambda = old.claim.for_system(labels), old.P, old.Lambda
    expected = 0 if isinstance(claim, WellPosed) else lfr.nx
    if P.shape[0] != expected or Lambda.shape != (lfr.nv,):
        raise CertificateError(
            f"P has {P.shape[0]} rows and Lambda {len(Lambda)} numbers, the model needs {expected} and {lfr.nv}"
        )
    evidence = prove(claim, lfr, P, Lambda, FLOAT64)
    return Certificate.of(claim, lfr, P, Lambda, evidence, f"{evidence.method}; witness: from the file")
