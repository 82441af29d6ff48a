"""Certificate and weights files, read strictly: what is not exactly as expected is rejected, with the reason."""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

SHAPES = {"A": "xx", "B1": "xw", "B2": "xu", "C1": "wx", "D11": "ww", "D12": "wu", "C2": "yx", "D21": "yw", "D22": "yu"}
SHAPES |= {"bx": "x", "bv": "w", "by": "y"}
LABELS = {key: ([str], None) for key in ("u_names", "y_names", "u_units", "y_units")}
QSR = dict.fromkeys("QSR", [[float]])
AROUND = {"tolerance": float, "bound": [(float, None)]}
AROUND |= dict.fromkeys(("equilibrium", "input", "low", "high", "eta"), [float])
CLAIMS = {
    "wellposed": {}, "monotone": {"m": float}, "contracting": {"rate": float}, "dissipative": QSR,
    "lipschitz": {"gamma": float, "u_scale": ([float], None), "y_scale": ([float], None)}, "around": AROUND,
    "passive": {"input_strict": float, "output_strict": float}, "storage": AROUND | QSR}  # fmt: skip
FACTOR = ({"scale": [int], "shift": float, "bits": int, "L": [[int]]}, None)
DOCUMENT = {
    "format": str, "version": int, "claim": dict, "rate": (float, None), "activation": str, "dt": (float, None),
    "digest": str, "weights": ({"file": str, "sha256": str}, None), "labels": LABELS, "P": [[float]], "Lambda": [float],
    "proof": dict.fromkeys(("P", "inequality", "rate", "neurons"), FACTOR), "unchecked": dict}  # fmt: skip


class Rejected(Exception):
    """The certificate does not hold; the message is the reason."""


def demand(condition: bool, otherwise: str) -> None:
    """Reject the certificate unless a condition holds."""
    if not condition:
        raise Rejected(otherwise)


class Unusable(Exception):
    """There is nothing to check: a file cannot be read, or the command line is wrong."""


class Block(NamedTuple):
    """One array of the model: its shape and its numbers, row by row."""

    shape: tuple[int, ...]
    values: list[float]

    def rows(self) -> list[list[float]]:
        """The rows of a matrix."""
        height, width = self.shape
        return [self.values[i * width : (i + 1) * width] for i in range(height)]


def parse(data: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object without a key that stands twice."""

    def unique(pairs: list) -> dict:
        demand(len(dict(pairs)) == len(pairs), f"a key stands twice in {what}")
        return dict(pairs)

    try:
        return fit(what, json.loads(data, object_pairs_hook=unique), dict)
    except (ValueError, RecursionError) as error:
        raise Rejected(f"{what} is not complete JSON ({error})") from error


def form(document: dict[str, Any]) -> dict[str, Any]:
    """The document in the form of `DOCUMENT`, its claim in that of `CLAIMS`, P as a full matrix."""
    kind = document.get("format"), document.get("version")
    demand(kind == ("eqnets-certificate", 2), "it is not an eqnets-certificate whose version is 2")
    d = fit("the certificate", document, DOCUMENT)
    kind = str(d["claim"].get("kind"))
    demand(kind in CLAIMS, f"it claims {kind[:40]!r}; known are {', '.join(CLAIMS)}")
    d["claim"] = fit("claim", d["claim"], {"kind": str, **CLAIMS[kind]})
    demand([len(row) for row in d["P"]] == [*range(1, len(d["P"]) + 1)], "P is not a lower triangle")
    d["P"] = [[d["P"][max(i, j)][min(i, j)] for j in range(len(d["P"]))] for i in range(len(d["P"]))]
    return d


def fit(name: str, value: Any, wanted: Any) -> Any:
    """The value, if it is of the wanted form: a type, [element], (form, None), or a dict with exactly these keys."""
    if isinstance(wanted, tuple):
        return None if value is None else fit(name, value, wanted[0])
    if isinstance(wanted, dict) and isinstance(value, dict):
        if odd := sorted(map(str, set(value) ^ set(wanted))):
            raise Rejected(f"{name} has unknown or missing keys: {', '.join(odd)[:200]}")
        return {key: fit(key, value[key], inner) for key, inner in wanted.items()}
    if isinstance(wanted, list) and isinstance(value, list):
        return [fit(name, entry, wanted[0]) for entry in value]
    if wanted is float and type(value) in (int, float) and abs(value) <= 1.7e308:  # false for NaN and infinity
        return float(value)
    if wanted is float or type(value) is not wanted or (wanted is int and abs(value) > 2**400):
        raise Rejected(f"{name} holds {str(value)[:40]!r}, which is not of the expected kind")
    return value


def read(path: Path) -> bytes:
    """The bytes of a file."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name may hold what no file system takes
        raise Unusable(f"'{path}' cannot be read ({getattr(error, 'strerror', error)})") from error


def read_blocks(data: bytes) -> tuple[dict[str, Block], dict[str, Any] | None]:
    """The blocks of a safetensors file, named as they are or with `lfr.` before, and the labels that it carries."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = parse(data[8:end], "the header of the weights")
    prefix, blocks = "lfr." if "lfr.A" in header else "", {}
    for name, letters in SHAPES.items():
        try:
            entry = fit(name, header[prefix + name], {"dtype": str, "shape": [int], "data_offsets": [int]})
            first, last = (end + offset for offset in entry["data_offsets"])
            code = {"F64": "d", "F32": "f", "F16": "e"}[entry["dtype"]]
            values = struct.unpack(f"<{math.prod(entry['shape'][:2])}{code}", data[first:last])
        except (KeyError, ValueError, OverflowError, struct.error) as error:
            raise Rejected(f"the weights have no readable block {name} ({error})") from error
        within = all(n in range(len(data)) for n in entry["shape"] + entry["data_offsets"])
        fits = within and len(entry["shape"]) == len(letters) and all(map(math.isfinite, values))
        demand(fits, f"block {name} of the weights has a wrong shape, or holds NaN or infinity")
        blocks[name] = Block(tuple(entry["shape"]), list(values))
    labels = fit("the metadata of the weights", header.get("__metadata__", {}), dict).get("eqnets.labels")
    return blocks, parse(labels, "the labels of the weights") if isinstance(labels, str) else None


def digest(blocks: dict[str, Block], activation: str, dt: float | None) -> str:
    """The sha256 of every block's name, shape and float64 bits, of the activation and of the sample time."""
    sha = hashlib.sha256()
    for name in SHAPES:
        shape, values = blocks[name]
        sha.update(f"{name}:{','.join(map(str, shape))};".encode() + struct.pack(f"<{len(values)}d", *values))
    sha.update(f"activation:{activation};dt:{dt.hex() if dt else None}".encode(errors="backslashreplace"))
    return sha.hexdigest()
