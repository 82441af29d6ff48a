"""What a certificate file holds, written (format version 2), and the strict reader of the older version 1.

Version 2 is read by `eqnets_verify`, which proves it from the file alone. Its floats are the shortest decimals that
read back as the same float64, its factors are integers. What stands under `unchecked` (the sentence, the margin, the
method) is for the reader's eye; nothing looks at it when the file is read. Version 1 held P and Λ without factors.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eqnets.certification.around import AbsoluteStability, AtPoint, DissipativeAround, RegionOfAttraction
from eqnets.certification.claim import Claim, Contracting, Dissipative, Lipschitz, Monotone, Passive, WellPosed
from eqnets.certification.dissipation import Matrix
from eqnets.certification.enclosure import Array
from eqnets.certification.labels import LABEL_KEYS
from eqnets.certification.proof import Factor
from eqnets.errors import CertificateError

FORMAT = "eqnets-certificate"
VERSION = 2
_KEYS = {"format", "version", "claim", "digest", "labels", "P", "Lambda", "unchecked"}
_CLAIM_KEYS = {
    "wellposed": {"kind"},
    "contracting": {"kind", "rate"},
    "lipschitz": {"kind", "gamma", "u_scale", "y_scale"},
}
_CLAIMS = {claim.kind: claim for claim in (WellPosed, Monotone, Contracting, Lipschitz, Dissipative, Passive)}


@dataclass(frozen=True, eq=False)
class Document:
    """What a certificate file of version 1 says, with nothing of it proved.

    Args:
        claim: the claim.
        digest: the sha256 of the LFR that it is about.
        P: (nx, nx) symmetric, (0, 0) for `WellPosed`.
        Lambda: (nv,).
        labels: the names and units that the file states, by key; None where there were none.
    """

    claim: Claim
    digest: str
    P: Array
    Lambda: Array
    labels: dict[str, list[str] | None]


@dataclass(frozen=True)
class Around:
    """What a file says about one equilibrium: where it is, and within which sectors and bounds V falls.

    Args:
        equilibrium: the state.
        input: the constant input.
        tolerance: of the neurons' arguments there; 0 for the origin, exactly.
        bound: of the neurons' arguments, None where there is none.
        low: α of every neuron's sector within its bound.
        high: β.
        eta: the weights of the neurons' integrals in V.
    """

    equilibrium: tuple[float, ...]
    input: tuple[float, ...]
    tolerance: float
    bound: tuple[float | None, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    eta: tuple[float, ...]
    kind = "around"


@dataclass(frozen=True)
class Storage(Around):
    """What a file says about a supply around one equilibrium, without bounds and with η = 0.

    Args:
        Q: (ny, ny).
        S: (nu, ny).
        R: (nu, nu).
    """

    Q: Matrix
    S: Matrix
    R: Matrix
    kind = "storage"


def write(entries: dict[str, Any], claim: Claim | Around, P: Array, Lambda: Array, factors: dict[str, Factor]) -> str:
    """The text of a certificate file.

    Args:
        entries: rate, activation, dt, digest, weights, labels, unchecked.
        claim: what is claimed.
        P: (nx, nx), symmetric.
        Lambda: (nv,).
        factors: of the matrices that are positive definite.

    Returns:
        JSON.
    """
    proof = {
        name: None if name not in factors else asdict(factors[name]) for name in ("P", "inequality", "rate", "neurons")
    }
    document = {
        "format": FORMAT, "version": VERSION, "claim": {"kind": claim.kind, **asdict(claim)}, **entries,
        "P": [row[: i + 1] for i, row in enumerate(P.tolist())], "Lambda": Lambda.tolist(), "proof": proof,
    }  # fmt: skip
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, allow_nan=False)}"
        for key, value in document.items()
    ]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def claim_from_entries(entries: dict[str, Any]) -> Claim:
    """The claim that checked entries of version 2 state."""
    options = {key: value for key, value in entries.items() if key != "kind"}
    for key in ("u_scale", "y_scale"):
        if options.get(key) is not None:
            options[key] = tuple(options[key])
    return _CLAIMS[entries["kind"]](**options)


def around_from_entries(entries: dict[str, Any]) -> AtPoint:
    """The claim about one equilibrium that checked entries state."""
    point = tuple(entries["equilibrium"]), tuple(entries["input"])
    if entries["kind"] == Storage.kind:
        return DissipativeAround(entries["Q"], entries["S"], entries["R"], *point)
    multiplier = "lure" if any(entries["eta"]) else "circle"
    if all(bound is None for bound in entries["bound"]):
        return AbsoluteStability(*point, multiplier=multiplier)
    return RegionOfAttraction(*point, bound=tuple(entries["bound"]), multiplier=multiplier)


def parse(path: Path) -> dict[str, Any]:
    """The JSON object of a certificate file of a known version.

    Args:
        path: of the file.

    Returns:
        Its entries.

    Raises:
        CertificateError: it is no such file.
    """
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
    if type(version) is not int or version not in (1, VERSION):
        raise CertificateError(f"its format version is {version!r}, this eqnets reads 1 and {VERSION}; update eqnets")
    return document


def read_version_1(entries: dict[str, Any]) -> Document:
    """What a file of version 1 says; a `CertificateError` says what is wrong with its form.

    Args:
        entries: of the file.

    Returns:
        What the file says.
    """
    _same_keys("the file", entries, _KEYS)
    labels = _text("labels", entries["labels"], dict)
    _same_keys("'labels'", labels, set(LABEL_KEYS))
    _text("unchecked", entries["unchecked"], dict)
    return Document(
        _claim_from_json(entries["claim"]),
        _text("digest", entries["digest"], str),
        _matrix(entries["P"]),
        _numbers("Lambda", entries["Lambda"]),
        labels,
    )


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
        raise CertificateError(f"{where} has other keys than version 1 knows ({'; '.join(words)})")


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


def _scale(document: dict[str, Any], key: str) -> tuple[float, ...] | None:
    return None if document[key] is None else tuple(_numbers(key, document[key]).tolist())


def _claim_from_json(value: Any) -> Claim:
    document = _text("claim", value, dict)
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _CLAIM_KEYS:
        raise CertificateError(f"it claims {str(kind)[:40]!r}; known are {', '.join(sorted(_CLAIM_KEYS))}")
    _same_keys("'claim'", document, _CLAIM_KEYS[kind])
    if kind == "contracting":
        return Contracting(_float("rate", document["rate"]))
    if kind == "lipschitz":
        return Lipschitz(_float("gamma", document["gamma"]), *(_scale(document, key) for key in ("u_scale", "y_scale")))
    return WellPosed()
