"""Claims around one equilibrium: no changed certificate, not even one with proofs made anew, is accepted and false."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from around_oracle import cases_around, counterexample, is_proved, is_true_around
from certificate_mutations import forged, prove_anew, stale

import eqnets as eq
from eqnets_verify import Block, Rejected, check


@pytest.fixture(scope="module")
def originals():
    return cases_around()


def test_what_was_certified_is_accepted_and_true(originals) -> None:
    kinds = {(d["dt"] is None, any(d["claim"]["eta"]), any(d["claim"]["bound"])) for d, _, _ in originals}
    assert kinds == {(t, e, b) for t in (True, False) for e in (True, False) for b in (True, False) if t or not e}
    assert {d["claim"]["tolerance"] > 0 for d, _, _ in originals} == {True, False}
    for document, blocks, labels in originals:
        said = {"around": "goes to x* exponentially", "storage": "around the equilibrium, from every state"}
        assert said[document["claim"]["kind"]] in check(document, blocks, labels).sentence
        assert is_true_around(document, blocks)


def test_the_oracle_refutes_what_says_more(originals) -> None:
    for document, blocks, _ in originals:
        claim, local = document["claim"], any(document["claim"]["bound"])
        more = [{"high": [0.7 * x for x in claim["high"]]}, {"eta": [x + 1e8 for x in claim["eta"]]}]
        more += [{"bound": [z and z + 1.5 for z in claim["bound"]]}, {"tolerance": 0.5}] if local else []
        for change in more:
            assert not is_proved(document | {"claim": claim | change}, blocks), (claim, change)
        assert not is_proved(document | {"Lambda": [0.0] * len(document["Lambda"])}, blocks)
        assert not is_proved(document | {"rate": 0.5}, blocks)
        if local:
            wide = document | {"P": [[0.2 * x for x in row] for row in document["P"]]}
            assert not is_proved(wide, blocks)


def test_a_state_speaks_against_a_false_sentence(originals) -> None:
    for document, blocks, _ in originals:
        A, claim = blocks["A"], document["claim"]
        if claim["kind"] == "storage":
            less = document | {"claim": claim | {"S": [[0.0]], "R": [[0.01]]}}
            assert counterexample(less, blocks, seed=0) and not is_proved(less, blocks)
            continue
        away = [-x for x in A.values] if document["dt"] is None else [30.0 * x for x in A.values]
        if claim["tolerance"] == 0:
            assert counterexample(document, blocks | {"A": Block(A.shape, away)}, seed=0)
    document, blocks, _ = originals[0]  # beyond the upright equilibrium of the pendulum
    claim = document["claim"] | {"bound": [6.0], "eta": [0.0]}
    assert counterexample(document | {"claim": claim, "P": [[0.01], [0.005, 0.01]]}, blocks, seed=0)


def test_no_changed_certificate_is_accepted_with_a_false_claim(originals) -> None:
    outcomes: Counter[str] = Counter()
    for said, (document, blocks, labels) in forged(originals, 100, seed=1):
        try:
            check(document, blocks, labels)
        except Rejected as reason:
            assert str(reason) and "\n" not in str(reason)
            outcomes["rejected"] += 1
            continue
        assert is_true_around(document, blocks), said
        assert document["labels"] == labels, said
        outcomes["proved anew" if said.endswith("proved anew") else "accepted"] += 1
    assert min(outcomes.values()) > 10 and len(outcomes) == 3, outcomes


def test_a_stale_hash_is_always_rejected(originals) -> None:
    rejected = 0
    for document, blocks, labels in stale(originals, 200, seed=2):
        with pytest.raises(Rejected):
            check(document, blocks, labels)
        rejected += 1
    assert rejected > 150


def test_a_rate_of_pairs_is_refused_beside_one_equilibrium(originals) -> None:
    """With ẋ = −x, P = −1 and η = 3 make V = 2x² fall, and a 'rate' of 5 1/s in that P means nothing."""
    document, _, _ = copy.deepcopy(originals[0])
    lfr = eq.LFR(A=[[-1.0]], B1=[[0.0]], C1=[[1.0]], D22=[[0.0]], activation="identity", dt=None)
    blocks = {name: Block(tuple(b.shape), b.double().flatten().tolist()) for name, b in lfr.blocks().items()}
    claim = {"equilibrium": [0.0], "input": [0.0], "tolerance": 0.0, "bound": [None], "low": [1.0], "high": [1.0]}
    document |= {
        "claim": claim | {"kind": "around", "eta": [3.0]}, "activation": "identity", "P": [[-1.0]], "Lambda": [10.0],
        "digest": lfr.digest(), "labels": dict.fromkeys(document["labels"]),
    }  # fmt: skip
    assert prove_anew(document, blocks, {}) and check(document, blocks, {}).rate is None
    for rate in (0.5, 5.0):
        with pytest.raises(Rejected, match="nothing about pairs is claimed"):
            check(document | {"rate": rate}, blocks, {})


def test_the_region_is_named_to_the_bit_and_the_tolerance_rounded_downwards(originals) -> None:
    document, blocks, labels = next(case for case in originals if case[0]["claim"]["bound"] == [1.9])
    tolerance = document["claim"]["tolerance"]
    said = check(document, blocks, labels).sentence
    assert "|v_1 − v*_1| < 1.9}" in said
    stated = float(said.split("lies within ")[1].split(" of v")[0])
    assert 0 < stated <= tolerance < (1 + 1e-8) * stated
