"""Changed certificates with their hashes made right again, and an oracle that says which of them are still true.

The oracle builds the inequality in rational numbers, from the formulas and by another code path than prover and
checker, and eliminates (LDLᵀ) without rounding. A checker that accepts what the oracle refutes is unsound.
"""

from __future__ import annotations

import copy
import json
import random
import struct
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import eqnets_verify
from eqnets.certification import Contracting, Dissipative, Lipschitz, Monotone, Passive, WellPosed, certify
from eqnets.certification.exact import Exact, prove_exactly
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness
from eqnets_verify import Block
from eqnets_verify.check import LEMMAS
from eqnets_verify.files import LABELS, digest

Case = tuple[dict[str, Any], dict[str, Block], dict[str, Any]]
"""A certificate document, the blocks of its model, and the labels of the model."""


def case(claim: Any, lfr: LFR, witness: Witness | None) -> Case:
    """What the checker gets for a certificate of this claim."""
    with tempfile.TemporaryDirectory() as folder:
        certify(claim, lfr, witness).save(Path(folder) / "c.json")
        document = json.loads((Path(folder) / "c.json").read_text(encoding="utf-8"))
    blocks = {name: Block(tuple(b.shape), b.flatten().tolist()) for name, b in lfr.blocks().items()}
    return document, blocks, copy.deepcopy(document["labels"])


def cases() -> list[Case]:
    """One small certificate of every kind, discrete and continuous, with several activations."""
    found = []
    for dt, activation in ((0.1, "relu"), (None, "tanh"), (0.5, "sigmoid"), (1.0, "relu,leaky_relu(0.25),sine_defect")):
        g = torch.Generator().manual_seed(0)
        sizes = {"A": (2, 2), "B1": (2, 3), "B2": (2, 2), "C1": (3, 2), "D11": (3, 3), "D12": (3, 2),
                 "C2": (2, 2), "D21": (2, 3), "D22": (2, 2)}  # fmt: skip
        blocks = {k: 0.2 * torch.randn(s, generator=g, dtype=torch.float64) for k, s in sizes.items()}
        blocks["D22"] = blocks["D22"] + torch.eye(2, dtype=torch.float64)
        if dt is None:
            blocks["A"] = blocks["A"] - torch.eye(2, dtype=torch.float64)
        lfr = LFR(**blocks, activation=activation, dt=dt, u_units=("N", "N"), y_names=("p", "q"))
        witness = Witness(torch.eye(2, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
        claims = [WellPosed(), Contracting(), Contracting(0.9 if dt else 0.1), Lipschitz(3.0, (1.0, 0.7), (1.0, 1.3)),
                  Passive(0.1, 0.01), Dissipative(-np.eye(2), np.zeros((2, 2)), 9 * np.eye(2))]  # fmt: skip
        claims += [Monotone(0.4)] if "sine" not in activation else []
        found += [case(claim, lfr, witness) for claim in claims]
    return found


def mutants(originals: list[Case], count: int, seed: int, *, rehash: bool = True) -> Iterator[tuple[str, Case]]:
    """Certificates with one to three changes to weights, witness, proof, claim, units, activation or sample time.

    Args:
        originals: what to change.
        count: how many.
        seed: of the changes.
        rehash: whether the digest is made right again; without, only weights, activation and sample time are changed.

    Yields:
        What was changed, and the changed certificate.
    """
    rng = random.Random(seed)
    for _ in range(count):
        document, blocks, labels = copy.deepcopy(rng.choice(originals))
        said = []
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            kinds = (_weight, _model) if not rehash else (_weight, _model, _witness, _witness, _proof, _claim, _labels)
            said.append(rng.choice(kinds)(rng, document, blocks))
        if rehash:
            document["digest"] = digest(blocks, document["activation"], document["dt"])
        yield ", ".join(said), (document, blocks, labels)


def stale(originals: list[Case], count: int, seed: int) -> Iterator[Case]:
    """Changed certificates with the hash of the original; a change that was none, as 0 times a factor, is left out.

    Args:
        originals: certificates with their models.
        count: how many changes are drawn.
        seed: of the changes.

    Yields:
        A certificate that must be rejected.
    """
    known = [(d["digest"], d["activation"], d["dt"], b) for d, b, _ in originals]
    for _, (document, blocks, labels) in mutants(originals, count, seed, rehash=False):
        if (document["digest"], document["activation"], document["dt"], blocks) not in known:
            yield document, blocks, labels


def forged(originals: list[Case], count: int, seed: int) -> Iterator[tuple[str, Case]]:
    """Mutants of which every other one has its proofs made anew, where its matrices are positive definite.

    A changed number mostly fails because the stored factor no longer fits, which says little of the formulas: these are
    the mutants of a forger who has a prover.
    """
    rng = random.Random(seed)
    for said, changed in mutants(originals, count, seed):
        yield said + ", proved anew" * (rng.random() < 0.5 and prove_anew(*changed)), changed


def prove_anew(document: dict[str, Any], blocks: dict[str, Block], labels: dict[str, Any]) -> bool:
    """Factors of exactly those matrices that the checker asks for, which it is made to tell; whether there are any."""
    names, asked = list(document["proof"]), {}

    def told(M: Any, bits: int, **_: Any) -> bool:
        asked[names[bits]] = M
        return True

    blank = {name: {"scale": [], "shift": 1.0, "bits": i, "L": [[]] * 999} for i, name in enumerate(names)}
    with mock.patch.object(sys.modules["eqnets_verify.check"], "is_positive", told):
        try:
            eqnets_verify.check(document | {"proof": blank}, blocks, labels)
        except eqnets_verify.Rejected:
            return False
    proofs = {name: prove_exactly(Exact(np.array(M.rows, dtype=object), M.k)) for name, M in asked.items()}
    if not all(proof.holds and proof.factor for proof in proofs.values()):
        return False
    document["proof"] |= {name: asdict(proof.factor) for name, proof in proofs.items() if proof.factor}
    return True


def is_true(document: dict[str, Any], blocks: dict[str, Block]) -> bool:
    """Whether (★) holds for the numbers of a certificate, in rational numbers: the oracle."""
    b = {name: exact_array(block.values).reshape(block.shape) for name, block in blocks.items()}
    nx, nv, nu, ny = len(b["A"]), len(b["D11"]), b["D22"].shape[1], len(b["D22"])
    names = document["activation"].split(",") if "," in document["activation"] else [document["activation"]] * nv
    alpha, beta = zip(*((0.25, 1.0) if n.startswith("leaky") else LEMMAS[n] for n in names), strict=True)
    lam, claim, dt = exact_array(document["Lambda"]), document["claim"], document["dt"]
    P = symmetric_of(document["P"])
    if not all(x > 0 for x in lam) or (dt is not None and not dt > 0):
        return False
    I = exact_array(np.eye(nv).ravel().tolist()).reshape(nv, nv)
    W = b["D11"]
    if claim["kind"] == "monotone":
        known = claim["m"] > 0 and min(alpha) >= 0 and max(beta) <= 1
        return known and is_definite(2 * I - W - W.T - 2 * Fraction(claim["m"]) * I)

    def slopes(v: np.ndarray, w: np.ndarray) -> np.ndarray:
        total = _zero(v.shape[1])
        for i in range(nv):
            p, r = w[i] - Fraction(alpha[i]) * v[i], w[i] - Fraction(beta[i]) * v[i]
            total = total + lam[i] * (np.multiply.outer(p, r) + np.multiply.outer(r, p))
        return total

    if claim["kind"] == "wellposed":
        return not np.any(np.triu(W)) or is_definite(slopes(W, I))
    if not is_definite(P):
        return False
    n = nx + nv + nu
    select = exact_array(np.eye(n).ravel().tolist()).reshape(n, n)
    x, w, u = select[:nx], select[nx : nx + nv], select[nx + nv :]
    after, v, y = (
        np.hstack([b[k] for k in names]) for names in (("A", "B1", "B2"), ("C1", "D11", "D12"), ("C2", "D21", "D22"))
    )  # noqa: E501

    def storage(rate: Fraction) -> np.ndarray:
        M = slopes(v, w)
        if dt is not None:
            return M + rate**2 * (x.T @ P @ x) - after.T @ P @ after
        return M - x.T @ P @ after - after.T @ P @ x - 2 * rate * (x.T @ P @ x)

    if document["rate"] is not None and not is_definite(storage(Fraction(document["rate"]))[: nx + nv, : nx + nv]):
        return False
    if claim["kind"] == "contracting":
        fits = 0 < claim["rate"] <= 1 if dt is not None else claim["rate"] >= 0
        return fits and is_definite(storage(Fraction(claim["rate"]))[: nx + nv, : nx + nv])
    if claim["kind"] == "lipschitz":
        s_u, s_y = ([Fraction(s) for s in claim[f"{end}_scale"] or [1.0] * k] for end, k in (("u", nu), ("y", ny)))
        if len(s_u) != nu or len(s_y) != ny or min(*s_u, *s_y) <= 0 or not claim["gamma"] > 0:
            return False
        Q, S, R = (
            np.diag([-1 / s**2 for s in s_y]),
            _zero(nu),
            np.diag([(Fraction(claim["gamma"]) / s) ** 2 for s in s_u]),
        )
    elif claim["kind"] == "passive":
        eye = exact_array(np.eye(nu).ravel().tolist()).reshape(nu, nu)
        Q, S, R = -2 * Fraction(claim["output_strict"]) * eye, eye, -2 * Fraction(claim["input_strict"]) * eye
    else:
        Q, S, R = (np.array([exact_array(row) for row in claim[name]]) for name in "QSR")
        Q, R = (Q + Q.T) / 2, (R + R.T) / 2
        if not is_definite(slopes(W, I)):
            return False
    cross = u.T @ S @ y
    return is_definite(storage(Fraction(int(dt is not None))) + y.T @ Q @ y + cross + cross.T + u.T @ R @ u)


def symmetric_of(triangle: list[list[float]]) -> np.ndarray:
    """The symmetric matrix of fractions whose lower triangle a certificate holds."""
    P = np.full((len(triangle),) * 2, Fraction(0), dtype=object)
    for i, row in enumerate(triangle):
        P[i, : i + 1] = P[: i + 1, i] = exact_array(row)
    return P


def is_definite(M: np.ndarray) -> bool:
    """Whether a symmetric matrix of fractions is positive definite, by LDLᵀ."""
    M = M.copy()
    for k in range(len(M)):
        if M[k, k] <= 0:
            return False
        M[k + 1 :, k:] -= np.multiply.outer(M[k + 1 :, k] / M[k, k], M[k, k:])
    return True


def exact_array(values: list[float]) -> np.ndarray:
    """Floats as fractions."""
    array = np.empty(len(values), dtype=object)
    array[:] = [Fraction(x) for x in values]
    return array


def _zero(n: int) -> np.ndarray:
    return exact_array([0.0] * (n * n)).reshape(n, n)


def _number(rng: random.Random, x: float) -> float:
    """Another number: a flipped bit, a small or large factor, a sign, zero, or anything."""
    kind = rng.randrange(8)
    if kind == 0:
        (bits,) = struct.unpack("<Q", struct.pack("<d", x))
        (flipped,) = struct.unpack("<d", struct.pack("<Q", bits ^ (1 << rng.randrange(64))))
        return flipped if abs(flipped) < 1e300 else x
    factors = [1 + 2.0**-50, 1 + rng.uniform(-1e-6, 1e-6), 1 + rng.uniform(-0.1, 0.1), rng.uniform(0.3, 3.0), -1.0, 0.0]
    return rng.gauss(0.0, 1.0) if kind == 7 else x * factors[kind - 1]


def _in_list(rng: random.Random, numbers: list[Any]) -> None:
    if numbers:
        i = rng.randrange(len(numbers))
        if isinstance(numbers[i], list):
            _in_list(rng, numbers[i])
        else:
            numbers[i] = _number(rng, numbers[i])


def _weight(rng: random.Random, document: dict[str, Any], blocks: dict[str, Block]) -> str:
    del document
    name = rng.choice(list(blocks))
    _in_list(rng, blocks[name].values)
    return f"a weight of {name}"


def _model(rng: random.Random, document: dict[str, Any], blocks: dict[str, Block]) -> str:
    del blocks
    if rng.random() < 0.5:
        document["dt"] = rng.choice((0.2, None, -1.0, 2.0))
        return "dt"
    document["activation"] = rng.choice(
        ("softplus", "sine_defect", "identity", "relu,relu,sigmoid", "gelu", "relu,relu")
    )
    return "the activation"


def _witness(rng: random.Random, document: dict[str, Any], blocks: dict[str, Block]) -> str:
    del blocks
    name = rng.choice(("P", "Lambda"))
    _in_list(rng, document[name])
    return name


def _proof(rng: random.Random, document: dict[str, Any], blocks: dict[str, Block]) -> str:
    del blocks
    factors = {name: factor for name, factor in document["proof"].items() if factor}
    if not factors:
        return "nothing"
    name, entry = rng.choice(list(factors)), rng.choice(("scale", "shift", "bits", "L", "none"))
    factor = factors[name]
    if entry == "none":
        document["proof"][name] = None
    elif entry == "shift":
        factor["shift"] = _number(rng, factor["shift"])
    elif entry == "bits":
        factor["bits"] += rng.choice((-2, -1, 1, 5))
    else:
        numbers = factor["scale"] if entry == "scale" else rng.choice(factor["L"])
        numbers[rng.randrange(len(numbers))] += rng.choice((-1000, -1, 1, 2, 2**20))
    return f"{entry} of the factor of {name}"


def _claim(rng: random.Random, document: dict[str, Any], blocks: dict[str, Block]) -> str:
    del blocks
    key = rng.choice([*document["claim"], "rate"])
    holder = document if key == "rate" and "rate" not in document["claim"] else document["claim"]
    value = holder[key]
    if key == "bound" and value:  # of a neuron's argument; there may be none
        i = rng.randrange(len(value))
        value[i] = rng.choice((None, rng.uniform(0.0, 4.0), _number(rng, value[i] or 1.0)))
    elif isinstance(value, list):
        _in_list(rng, value)
    elif isinstance(value, float):
        holder[key] = _number(rng, value)
    elif value is None:
        holder[key] = rng.uniform(0.0, 1.2)
    else:
        holder[key] = rng.choice(("wellposed", "contracting", "monotone", "passive", "everything"))
    return f"the claim's {key}"


def _labels(rng: random.Random, document: dict[str, Any], blocks: dict[str, Block]) -> str:
    del blocks
    key = rng.choice(list(LABELS))
    document["labels"][key] = rng.choice((["kN", "kN"], ["m", "s"], ["p"], None))
    return key
