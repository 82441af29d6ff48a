"""No changed certificate makes the checker say what is false; each of those that it accepts is proved by an oracle."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
from certificate_mutations import cases, forged, is_true, mutants, stale

from eqnets_verify import Block, Rejected, check
from eqnets_verify.files import digest


@pytest.fixture(scope="module")
def originals():
    return cases()


def test_what_was_certified_is_accepted_and_true(originals) -> None:
    assert {document["claim"]["kind"] for document, _, _ in originals} == {
        "wellposed", "monotone", "contracting", "lipschitz", "passive", "dissipative",
    }  # fmt: skip
    for document, blocks, labels in originals:
        assert check(document, blocks, labels).sentence
        assert is_true(document, blocks)


def test_the_oracle_refutes_false_claims(originals) -> None:
    for document, blocks, _ in originals:
        claim = document["claim"]
        false = {"gamma": 0.5, "input_strict": 9.0, "m": 1.5, "rate": 0.01 if document["dt"] else 9.0}
        changed = copy.deepcopy(document)
        for key in false.keys() & claim.keys():
            changed["claim"][key] = false[key]
            changed["rate"] = None
            assert not is_true(changed, blocks), claim


def test_no_changed_certificate_is_accepted_with_a_false_claim(originals) -> None:
    outcomes: Counter[str] = Counter()
    for said, (document, blocks, labels) in mutants(originals, 2000, seed=1):
        try:
            check(document, blocks, labels)
        except Rejected as reason:
            assert str(reason) and "\n" not in str(reason)
            outcomes["rejected"] += 1
            continue
        assert is_true(document, blocks), said
        assert document["labels"] == labels, said
        outcomes["accepted"] += 1
    assert outcomes["accepted"] > 100 and outcomes["rejected"] > 1000, outcomes


def test_no_forger_with_a_prover_is_believed_with_a_false_claim(originals) -> None:
    outcomes: Counter[str] = Counter()
    for said, (document, blocks, labels) in forged(originals, 600, seed=3):
        try:
            check(document, blocks, labels)
        except Rejected:
            outcomes["rejected"] += 1
            continue
        assert is_true(document, blocks), said
        outcomes["proved anew" if said.endswith("proved anew") else "accepted"] += 1
    assert min(outcomes.values()) > 50 and len(outcomes) == 3, outcomes


def test_a_strongly_monotone_network_has_m_above_zero(originals) -> None:
    """I − 3 + 5 ≻ 0 is true, and w = relu(3w − 1) still has two solutions."""
    document, blocks, labels = copy.deepcopy(next(c for c in originals if c[0]["claim"]["kind"] == "monotone"))
    blocks["D11"] = Block((3, 3), [3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 3.0])
    document |= {
        "digest": digest(blocks, document["activation"], document["dt"]),
        "claim": {"kind": "monotone", "m": -5.0},
    }
    blank = {"scale": [0] * 3, "shift": 3.0, "bits": 0, "L": [[0], [0, 0], [0, 0, 0]]}
    document["proof"]["inequality"] = blank
    with pytest.raises(Rejected, match="m > 0"):
        check(document, blocks, labels)


def test_a_stale_hash_is_always_rejected(originals) -> None:
    rejected = 0
    for document, blocks, labels in stale(originals, 1000, seed=2):
        with pytest.raises(Rejected):
            check(document, blocks, labels)
        rejected += 1
    assert rejected > 900
