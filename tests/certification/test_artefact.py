"""Certificate files: what was saved verifies, and whatever was changed is found, by digest, by form or by proof.

What a changed file does is shown here for the old format version 1, which is proved anew from P and Λ in float64;
tests/verify does the same for the present one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eqnets.certification import Certificate, Contracting, Lipschitz, WellPosed, certify, verify
from eqnets.errors import CertificateError
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness

Document = dict[str, Any]
LABELS = {"u_names": ("force", "heat"), "u_units": ("N", "N"), "y_units": ("m", "m", "m", "m")}
CLAIMS = [
    WellPosed(),
    Contracting(),
    Contracting(0.6),
    Lipschitz(2.0),
    Lipschitz(2.0, (1.0, 1.0), (1.0, 1.1, 1.2, 1.3)),
]


@pytest.fixture
def saved(small_gain, tmp_path: Path) -> tuple[Path, LFR, Witness]:
    """A Lipschitz certificate on disk, its LFR and its witness."""
    lfr, witness = small_gain(0, 2, 3, 5, 4, gamma=2.0)
    lfr = lfr.replace(**LABELS)
    certify(Lipschitz(2.0), lfr, witness).save(tmp_path / "certificate.json")
    _edit(tmp_path / "certificate.json", _to_version_1)
    return tmp_path / "certificate.json", lfr, witness


def _to_version_1(document: Document) -> None:
    for key in ("rate", "activation", "dt", "weights", "proof"):
        del document[key]
    document["version"] = 1


def _edit(path: Path, change: Callable[[Document], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("sizes", [(2, 3, 5, 4), (2, 3, 0, 4), (2, 0, 5, 4), (2, 0, 0, 4)])
@pytest.mark.parametrize("claim", CLAIMS)
def test_what_was_saved_verifies(small_gain, tmp_path: Path, claim, sizes: tuple[int, ...], dt: float | None) -> None:
    lfr, witness = small_gain(1, *sizes, gamma=2.0, dt=dt)
    cert = certify(claim, lfr, witness)
    cert.save(tmp_path / "c.json")
    assert verify(tmp_path / "c.json", lfr) == cert.claim
    again = Certificate.load(tmp_path / "c.json", lfr)
    assert torch.equal(again.witness.P, cert.witness.P) and torch.equal(again.witness.Lambda, cert.witness.Lambda)
    assert (again.sentence, again.margin, again.rate, again.digest) == (
        cert.sentence,
        cert.margin,
        cert.rate,
        cert.digest,
    )


def test_a_second_save_replaces_the_first_and_leaves_nothing_beside(saved) -> None:
    path, lfr, witness = saved
    certify(Lipschitz(3.0), lfr, witness).save(path)
    assert verify(path, lfr) == Lipschitz(3.0)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_summary_has_the_lines_a_report_needs(saved) -> None:
    path, lfr, _ = saved
    text = Certificate.load(path, lfr).summary()
    for part in ("force", "m/N", "margin", lfr.digest(), "Cholesky", "also contracting", "not of the plant"):
        assert part in text


# the weights ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["A", "B1", "B2", "C1", "C2", "D11", "D12", "D21", "D22", "bx", "bv", "by"])
def test_one_changed_weight_is_rejected_by_the_digest(saved, block: str) -> None:
    path, lfr, _ = saved
    changed = getattr(lfr, block).clone()
    changed.view(-1)[0] += 1e-15 + 1e-15 * abs(float(changed.view(-1)[0]))
    with pytest.raises(CertificateError, match="other weights"):
        verify(path, lfr.replace(**{block: changed}))


def test_dt_and_activation_are_part_of_the_digest(saved) -> None:
    path, lfr, _ = saved
    for other in (lfr.replace(dt=0.5), lfr.replace(activation="tanh")):
        with pytest.raises(CertificateError, match="other weights"):
            verify(path, other)


@pytest.mark.parametrize("change", [1e-6, 0.01, 0.3, 0.8, 1.5, 4.0])
def test_a_rehashed_file_is_rejected_exactly_when_the_inequality_fails(saved, change: float) -> None:
    path, lfr, _ = saved
    changed = lfr.replace(A=lfr.A + change * torch.eye(3, dtype=torch.float64))
    _edit(path, lambda d: d.update(digest=changed.digest()))
    # the inequality, written out by hand with the numbers of the file (slopes [0, 1])
    d = json.loads(path.read_text())
    P = torch.zeros(3, 3, dtype=torch.float64)
    for i, row in enumerate(d["P"]):
        P[i, : i + 1] = P[: i + 1, i] = torch.tensor(row, dtype=torch.float64)
    L = torch.diag(torch.tensor(d["Lambda"], dtype=torch.float64))
    b = changed.blocks()
    rows, out = torch.cat([b["A"], b["B1"], b["B2"]], 1), torch.cat([b["C2"], b["D21"], b["D22"]], 1)
    W = 2 * L - L @ b["D11"] - b["D11"].T @ L
    M = torch.block_diag(P, W, 4.0 * torch.eye(2, dtype=torch.float64))
    M[3:8, :3] = -L @ b["C1"]
    M[3:8, 8:] = -L @ b["D12"]
    M[:3, 3:8], M[8:, 3:8] = M[3:8, :3].T, M[3:8, 8:].T
    M = M - rows.T @ P @ rows - out.T @ out
    if float(torch.linalg.eigvalsh(M)[0]) > 0:
        assert verify(path, changed) == Lipschitz(2.0)
    else:
        with pytest.raises(CertificateError, match="not positive definite"):
            verify(path, changed)


def test_both_outcomes_of_the_rehashed_file_occur(saved) -> None:
    path, lfr, _ = saved
    outcomes = set()
    for change in (0.01, 4.0):
        changed = lfr.replace(A=lfr.A + change * torch.eye(3, dtype=torch.float64))
        _edit(path, _set("digest", to=changed.digest()))
        try:
            verify(path, changed)
            outcomes.add("accepted")
        except CertificateError:
            outcomes.add("rejected")
    assert outcomes == {"accepted", "rejected"}


# the numbers of the file ----------------------------------------------------------------------------------------


def _set(*keys: Any, to: Any) -> Callable[[Document], None]:
    def change(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = to

    return change


@pytest.mark.parametrize("change", [
    _set("claim", "gamma", to=0.1), _set("claim", "gamma", to=0.05), _set("P", 0, 0, to=-1.0), _set("P", 1, 0, to=9.0),
    _set("P", 2, 2, to=1e6), _set("P", 0, 0, to=0.0), _set("Lambda", 3, to=0.0), _set("Lambda", 3, to=-1.0),
    _set("Lambda", 0, to=1e9), _set("claim", "y_scale", to=[1e-3] * 4), _set("claim", "u_scale", to=[1e3] * 2),
])  # fmt: skip
def test_numbers_that_prove_nothing_are_rejected(saved, change: Callable[[Document], None]) -> None:
    path, lfr, _ = saved
    _edit(path, change)
    with pytest.raises(CertificateError, match="not certified"):
        verify(path, lfr)


@pytest.mark.parametrize("change", [_set("claim", "gamma", to=2.5), _set("claim", "gamma", to=3)])
def test_a_weaker_claim_that_still_holds_is_accepted(saved, change: Callable[[Document], None]) -> None:
    path, lfr, _ = saved
    _edit(path, change)
    assert verify(path, lfr).gamma in (2.5, 3.0)


def test_a_faster_rate_in_the_file_is_rejected(small_gain, tmp_path: Path) -> None:
    lfr, witness = small_gain(0, 2, 3, 5, 4)
    cert = certify(Contracting(), lfr, witness)
    cert.save(tmp_path / "c.json")
    _edit(tmp_path / "c.json", _to_version_1)
    for rate, holds in (
        (cert.rate, True),
        (0.999 * witness.rate(lfr), False),
        (1.2, False),
        (0.0, False),
        (-1.0, False),
    ):
        _edit(tmp_path / "c.json", _set("claim", "rate", to=rate))
        if holds:
            assert verify(tmp_path / "c.json", lfr) == Contracting(rate)
        else:
            with pytest.raises(CertificateError):
                verify(tmp_path / "c.json", lfr)


def test_the_stored_sentence_and_margin_are_never_believed(saved) -> None:
    path, lfr, _ = saved
    _edit(path, _set("unchecked", to={"sentence": "gamma is 0.001", "margin": 1e9, "method": "trust me"}))
    cert = Certificate.load(path, lfr)
    assert "0.001" not in cert.summary() and cert.margin <= 1 and "trust me" not in cert.method


# the form of the file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, words", [
    (_set("note", to="x"), "unknown note"),
    (lambda d: d.pop("Lambda"), "missing Lambda"),
    (_set("format", to="zip"), "not an eqnets-certificate"),
    (_set("version", to=3), "version is 3"), (_set("version", to=2), "other weights"),
    (_set("version", to=True), "version is True"),
    (_set("version", to="1"), "version is '1'"),
    (_set("digest", to=7), "digest"),
    (_set("digest", to=""), "other weights"),
    (_set("claim", to="lipschitz"), "claim"),
    (_set("claim", "kind", to="monotone"), "monotone"),
    (_set("claim", "kind", to=["lipschitz"]), "claims"),
    (_set("claim", "kind", to="contracting"), "unknown gamma, u_scale, y_scale; missing rate"),
    (_set("claim", "gamma", to="2"), "gamma.*not a number"),
    (_set("claim", "gamma", to=True), "gamma.*not a number"),
    (_set("claim", "gamma", to=None), "gamma.*not a number"),
    (_set("claim", "gamma", to=10**400), "float64 cannot hold"),
    (_set("claim", "gamma", to=0), "positive"),
    (_set("claim", "u_scale", to=3.0), "u_scale"),
    (_set("claim", "u_scale", to=[1.0]), "u_scale has 1"),
    (_set("P", to={}), "P"),
    (_set("P", to=[]), "P has 0 rows"),
    (_set("P", 1, to=[1.0]), "row 1 of 'P'"),
    (_set("P", 0, to=["1.0"]), "P.*not a number"),
    (_set("Lambda", to=[1.0]), "Lambda 1 numbers"),
    (_set("Lambda", 0, to=[]), "Lambda.*not a number"),
    (_set("labels", to=None), "labels"),
    (_set("labels", "u_units", to=["kN", "kN"]), "u_units"),
    (_set("labels", "u_names", to=None), "u_names"),
    (_set("labels", "y_units", to="m"), "y_units"),
    (_set("labels", "z", to=1), "unknown z"),
    (_set("unchecked", to="nothing"), "unchecked"),
])  # fmt: skip
def test_a_changed_form_is_one_sentence(saved, change: Callable[[Document], object], words: str) -> None:
    path, lfr, _ = saved
    _edit(path, change)
    with pytest.raises(CertificateError, match=words) as caught:
        verify(path, lfr)
    assert str(caught.value).startswith("the certificate certificate.json does not hold: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [
    "", "{", "[]", "null", "3", '"eqnets-certificate"', '{"format": "eqnets-certificate"}', "[" * 100_000, "\ufeff{}",
    '{"format": "eqnets-certificate", "format": "eqnets-certificate"}', '{"gamma": NaN}', '{"gamma": Infinity}',
])  # fmt: skip
def test_text_that_is_no_certificate_is_one_sentence(saved, text: str) -> None:
    path, lfr, _ = saved
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CertificateError, match="does not hold"):
        verify(path, lfr)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_rejected(saved, share: float) -> None:
    path, lfr, _ = saved
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: int(share * len(whole)) - 1])
    with pytest.raises(CertificateError, match="JSON|UTF-8"):
        verify(path, lfr)


def test_bytes_folders_and_absent_files_are_rejected(saved, tmp_path: Path) -> None:
    path, lfr, _ = saved
    path.write_bytes(b"\xff\xfe\x00")
    for wrong, words in ((path, "UTF-8"), (tmp_path, "cannot be read"), (tmp_path / "none.json", "cannot be read")):
        with pytest.raises(CertificateError, match=words):
            verify(wrong, lfr)
