"""The certificate as an object and as a file: what was claimed, about which weights, and the numbers that prove it.

The file is JSON, its floats are the shortest decimals that read back as the same float64. What stands under `unchecked`
(the sentence, the margin, the method) is for the reader's eye; `verify` looks at none of it and says everything anew.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eqnets.certification.claim import (
    Claim,
    Contracting,
    Labels,
    Lipschitz,
    PairGain,
    WellPosed,
    down,
    rate_words,
    up,
)
from eqnets.certification.enclosure import Array
from eqnets.certification.evidence import Evidence, prove
from eqnets.certification.proof import METHOD
from eqnets.errors import CertificateError, InputError, NotCertified
from eqnets.system.lfr import LFR
from eqnets.system.witness import Supply, Witness

FORMAT = "eqnets-certificate"
VERSION = 1
_KEYS = {"format", "version", "claim", "digest", "labels", "P", "Lambda", "unchecked"}
_CLAIM_KEYS = {
    "wellposed": {"kind"},
    "contracting": {"kind", "rate"},
    "lipschitz": {"kind", "gamma", "u_scale", "y_scale"},
}
_LABEL_KEYS = ("u_names", "y_names", "u_units", "y_units")


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
        P = self.witness.P.tolist()
        document = {
            "format": FORMAT,
            "version": VERSION,
            "claim": _claim_to_json(self.claim),
            "digest": self.digest,
            "labels": {key: _listed(getattr(self.labels, key)) for key in _LABEL_KEYS},
            "P": [row[: i + 1] for i, row in enumerate(P)],
            "Lambda": self.witness.Lambda.tolist(),
            "unchecked": {"sentence": self.sentence, "margin": self.margin, "method": self.method},
        }
        target = Path(path)
        scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
        scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        scratch.replace(target)


def verify(path: str | os.PathLike[str], lfr: LFR) -> Claim:
    """Check a certificate file against an LFR: digest, format, and the whole proof again.

    Args:
        path: of the file.
        lfr: the system that it is said to be about.

    Returns:
        The claim, now proved for `lfr`.

    Raises:
        CertificateError: the file is not a certificate, is about another LFR, or its inequality does not hold.
    """
    return _check(path, lfr).claim


def _check(path: str | os.PathLike[str], lfr: LFR) -> Certificate:
    name = Path(path).name
    try:
        document = _read(Path(path))
        claim = _claim_from_json(document["claim"])
        P, Lambda = _matrix(document["P"]), _numbers("Lambda", document["Lambda"])
        _compare_labels(document["labels"], lfr)
        _text("unchecked", document["unchecked"], dict)
        digest = _text("digest", document["digest"], str)
        if digest != lfr.digest():
            raise CertificateError(
                f"it is about other weights: the file says sha256 {digest[:12]}…, the model has {lfr.digest()[:12]}…; "
                "certify the model anew"
            )
        settled = claim.for_system(Labels.of(lfr))
        expected = 0 if isinstance(claim, WellPosed) else lfr.nx
        if P.shape[0] != expected or Lambda.shape != (lfr.nv,):
            raise CertificateError(
                f"P has {P.shape[0]} rows and Lambda {len(Lambda)} numbers, the model needs {expected} and {lfr.nv}"
            )
        evidence = prove(settled, lfr, P, Lambda)
    except (CertificateError, NotCertified, InputError) as error:
        raise CertificateError(f"the certificate {name} does not hold: {str(error).rstrip('.')}.") from error
    return Certificate.of(settled, lfr, P, Lambda, evidence, f"{METHOD}; witness: from the file")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CertificateError(f"the file cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise CertificateError("the file is not text in UTF-8") from error
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise CertificateError(f"the file is not complete JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CertificateError(f"the file is not an {FORMAT}")
    version = document.get("version")
    if type(version) is not int or version != VERSION:
        raise CertificateError(f"its format version is {version!r}, this eqnets reads {VERSION}; update eqnets")
    _same_keys("the file", document, _KEYS)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _same_keys(where: str, found: dict[str, Any], wanted: set[str]) -> None:
    if set(found) != wanted:
        extra, missing = sorted(set(found) - wanted), sorted(wanted - set(found))
        words = [f"unknown {', '.join(extra)}"] if extra else []
        words += [f"missing {', '.join(missing)}"] if missing else []
        raise CertificateError(f"{where} has other keys than version {VERSION} knows ({'; '.join(words)})")


def _text(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise CertificateError(f"'{name}' is not of the right type ({kind.__name__})")
    return value


def _float(name: str, value: Any) -> float:
    if type(value) not in (int, float):
        raise CertificateError(f"'{name}' holds {str(value)[:40]!r}, which is not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise CertificateError(f"'{name}' holds a number that float64 cannot hold")
    return number


def _numbers(name: str, value: Any) -> Array:
    return np.array([_float(name, entry) for entry in _text(name, value, list)], dtype=np.float64)


def _matrix(value: Any) -> Array:
    """P from the rows of its lower triangle."""
    rows = _text("P", value, list)
    P = np.zeros((len(rows), len(rows)))
    for i, row in enumerate(rows):
        numbers = _numbers("P", row)
        if len(numbers) != i + 1:
            raise CertificateError(f"row {i} of 'P' has {len(numbers)} numbers; the lower triangle has {i + 1}")
        P[i, : i + 1] = numbers
        P[: i + 1, i] = numbers
    return P


def _listed(labels: tuple[Any, ...] | None) -> list[Any] | None:
    return None if labels is None else list(labels)


def _compare_labels(value: Any, lfr: LFR) -> None:
    """Names and units are no part of the digest; a file that names others than the LFR speaks of something else."""
    labels = _text("labels", value, dict)
    _same_keys("'labels'", labels, set(_LABEL_KEYS))
    for key in _LABEL_KEYS:
        if labels[key] != _listed(getattr(lfr, key)):
            raise CertificateError(f"its {key} are {labels[key]}, the model's are {_listed(getattr(lfr, key))}")


def _claim_to_json(claim: Claim) -> dict[str, Any]:
    document: dict[str, Any] = {"kind": claim.kind}
    if isinstance(claim, Contracting):
        document["rate"] = claim.rate
    if isinstance(claim, Lipschitz):
        document |= {"gamma": claim.gamma, "u_scale": _listed(claim.u_scale), "y_scale": _listed(claim.y_scale)}
    return document


def _claim_from_json(value: Any) -> Claim:
    document = _text("claim", value, dict)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _CLAIM_KEYS:
        raise CertificateError(f"it claims {str(kind)[:40]!r}; known are {', '.join(sorted(_CLAIM_KEYS))}")
    _same_keys("'claim'", document, _CLAIM_KEYS[kind])
    if kind == "contracting":
        return Contracting(_float("rate", document["rate"]))
    if kind == "lipschitz":
        scales = [document[k] if document[k] is None else tuple(_numbers(k, document[k])) for k in ("u_scale", "y_scale")]
        return Lipschitz(_float("gamma", document["gamma"]), *scales)
    return WellPosed()
