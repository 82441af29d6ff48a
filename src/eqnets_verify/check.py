"""From a certificate and the weights to a sentence that is true, or to the reason why there is none."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from eqnets_verify.around import around
from eqnets_verify.exact import dyadic, is_positive
from eqnets_verify.files import LABELS, SHAPES, Block, demand, digest, form, parse, read, read_blocks
from eqnets_verify.inequality import System, inequality, monotone, supply_of
from eqnets_verify.sentence import sentence

# The lemmas α ≤ (φ(a) − φ(b))/(a − b) ≤ β for all a ≠ b: extrema of derivatives, decimals rounded outwards.
LEMMAS = {
    "relu": (0, 1), "tanh": (0, 1), "sigmoid": (0, 0.25), "softplus": (0, 1), "identity": (1, 1), "hardtanh": (0, 1),
    "sine_defect": (0, 2), "gelu": (-0.128904145186, 1.128904145186), "silu": (-0.099839320129, 1.099839320129),
    "mish": (-0.112526122390, 1.088498161252), "selu": (0, 1.758099340848)}  # fmt: skip


class Verdict(NamedTuple):
    """What was proved: the claim, the rate besides it (or None), both in words, and the digest of the model."""

    claim: dict[str, Any]
    rate: float | None
    sentence: str
    digest: str


def verify(certificate: Path, weights: Path | None = None) -> Verdict:
    """Check a file against its weights: a file or a folder; None: what it names, or model.safetensors beside it."""
    named = form(document := parse(read(certificate), "the certificate"))["weights"]
    path = weights or certificate.parent / Path(named["file"] if named else "model.safetensors").name
    path = path / "model.safetensors" if path.is_dir() else path
    data = read(path)
    demand(not named or named["sha256"] == hashlib.sha256(data).hexdigest(), f"{path.name} has another sha256")
    blocks, labels = read_blocks(data)
    if labels is None and (path.parent / "model.json").is_file():
        labels = parse(read(path.parent / "model.json"), "model.json").get("lfr")
    return check(document, blocks, labels if isinstance(labels, dict) else {})


def check(document: dict[str, Any], blocks: dict[str, Block], labels: dict[str, Any]) -> Verdict:
    """Check a certificate document against the blocks of a model and the names and units of its channels."""
    d = form(document)
    claim, rate, dt, proofs = d["claim"], d["rate"], d["dt"], d["proof"]
    size = {"x": blocks["A"].shape[0], "w": blocks["D11"].shape[0]} | dict(zip("yu", blocks["D22"].shape, strict=True))
    for name, letters in SHAPES.items():
        demand(blocks[name].shape == tuple(size[part] for part in letters), f"block {name} has a wrong shape")
    found = digest(blocks, d["activation"], dt)
    demand(d["digest"] == found, f"it is about other weights: its sha256 is {d['digest'][:12]}…, theirs {found[:12]}…")
    demand(all(labels.get(k, d[k]) == d[k] for k in ("activation", "dt")), "the model's activation or dt is another")
    for key in LABELS:
        demand(d["labels"][key] == labels.get(key), f"its {key} are {d['labels'][key]}, the model's {labels.get(key)}")
        demand(len(d["labels"][key] or [""] * size[key[0]]) == size[key[0]], f"{key} has a wrong number of entries")
    demand(dt is None or 1e-99 < dt < 1e99, f"dt is {dt}, not a positive number of seconds")
    names = d["activation"].split(",") if "," in d["activation"] else [d["activation"]] * size["w"]
    slopes = _slopes(names := list(map(str.strip, names)), size["w"])
    neurons_only = claim["kind"] in ("wellposed", "monotone")
    demand([len(d["P"]), len(d["Lambda"])] == [size["x"] * (not neurons_only), size["w"]], "P or Lambda does not fit")
    demand(min(d["Lambda"], default=1.0) > 0, "Lambda holds a multiplier that is not positive")
    matrices = {name: block.rows() for name, block in blocks.items() if len(block.shape) == 2}
    system, least = System(matrices, size, slopes, dt, d["P"], d["Lambda"]), float(dt is not None)
    needed = {} if neurons_only else {"P": dyadic(d["P"])}
    if rate is not None:
        stated, alone = claim.get("rate", least), neurons_only or "eta" in claim  # there P need not be ≻ 0
        implied = not alone and (0 <= rate <= stated if dt else rate >= stated)
        demand(implied, f"the rate {rate!r} besides it does not imply the claim, or nothing about pairs is claimed")
        needed["rate"] = inequality(system, rate, "xw")
    _demand_supply(claim, size["u"], size["y"], d["labels"])
    match claim["kind"]:
        case "wellposed":
            if proofs["inequality"] or any(any(row[i:]) for i, row in enumerate(matrices["D11"])):
                needed["inequality"] = inequality(system, least, "w")  # else D11 is strictly lower triangular
        case "monotone":
            demand(claim["m"] > 0 and all(a >= 0 and b <= 1 for a, b in slopes), "it needs m > 0, slopes in [0, 1]")
            needed["inequality"] = monotone(system, claim["m"])
        case "contracting":
            demand(0 < claim["rate"] <= 1 if dt else claim["rate"] >= 0, f"{claim['rate']!r} is no contraction rate")
            needed |= {"inequality": inequality(system, claim["rate"], "xw")} if rate is None else {}
        case "around" | "storage":
            needed |= around(system, names, claim, blocks["bv"].values)
        case kind:
            n = size["x"] + size["w"] + size["u"]
            demand(any(len(f["L"]) >= n for f in proofs.values() if f), f"no L has the {n} rows of 'inequality'")
            needed["inequality"] = inequality(system, least, "xwu", supply_of(claim, size["u"], size["y"]))
            # Q of a dissipative system may be anything, so that its neurons are shown apart
            needed |= {"neurons": inequality(system, least, "w")} if kind == "dissipative" else {}
    for name, matrix in needed.items():
        holds = proofs[name] is not None and is_positive(matrix, **proofs[name])
        demand(holds, f"its numbers do not show the matrix '{name}' to be positive definite")
    return Verdict(claim, rate, sentence(claim, rate, size, dt, d["labels"], ", ".join(sorted({*names}))), found)


def _slopes(names: list[str], count: int) -> list[tuple[float, float]]:
    found = []
    for name in names:
        match = re.fullmatch(r"(leaky_relu|elu|softshrink)\((\d+(?:\.\d+)?(?:e[+-]?\d+)?)\)", name)
        a = float(match[2]) if match else 0.0
        with_number = {"leaky_relu": (a, 1.0), "elu": (0.0, max(1.0, a)), "softshrink": (0.0, 1.0)}
        found.append(with_number[match[1]] if match else LEMMAS.get(name, (0.0, -1.0)))
    fits = len(found) == count and all(low <= high < 1e300 for low, high in found)
    demand(fits, f"there is no slope lemma for each neuron in the activation '{', '.join(names)[:60]}'")
    return found


def _demand_supply(claim: dict[str, Any], nu: int, ny: int, labels: dict[str, Any]) -> None:
    if claim["kind"] == "lipschitz":
        demand(claim["gamma"] > 0, "gamma is not positive")
        for end, count in (("u", nu), ("y", ny)):
            scale, units = claim[f"{end}_scale"], labels[f"{end}_units"] or []
            demand(scale is not None or len(set(units)) <= 1, f"channels of different units need a {end}_scale")
            demand(scale is None or (len(scale) == count and min(scale, default=1) > 0), f"{end}_scale does not fit")
    elif claim["kind"] == "passive":
        demand(nu == ny and claim["output_strict"] >= 0, "passivity needs nu = ny and output_strict ≥ 0")
    for name, height, width in (("Q", ny, ny), ("S", nu, ny), ("R", nu, nu)) * ("Q" in claim):
        demand([len(row) for row in claim[name]] == [width] * height, f"{name} is not {height} × {width}")
