"""The checker as a program: what it accepts, how it says no, and that it needs nothing but Python."""

from __future__ import annotations

import ast
import json
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.verify.changed import change

import eqnets_verify
from eqnets.certification import (
    Certificate,
    Contracting,
    Dissipative,
    Lipschitz,
    Monotone,
    Passive,
    WellPosed,
    certify,
    verify,
)  # fmt: skip
from eqnets.errors import CertificateError
from eqnets.models import ContractingREN, LipschitzREN
from eqnets.system import nonlinearity
from eqnets.system.lfr import LFR
from eqnets.system.witness import Witness
from eqnets_verify.__main__ import main
from eqnets_verify.check import _slopes
from eqnets_verify.exact import dyadic, is_positive

F64 = torch.float64
PACKAGE = Path(eqnets_verify.__file__).parent
SIZES = [(2, 3, 5, 2), (2, 3, 0, 2), (2, 0, 5, 2), (2, 0, 0, 2), (0, 3, 4, 0), (3, 2, 4, 1)]
LABELS = {"u_names": ("force", "heat"), "u_units": ("N", "N"), "y_units": ("m", "m")}


def _model(sizes: tuple[int, ...], dt: float | None, dtype: torch.dtype = F64, **labels) -> tuple[LFR, Witness]:
    """A system that P = I, Λ = I prove to contract and to be 3-Lipschitz: blocks of norm 0.1, and a direct path I."""
    nu, nx, nv, ny = sizes
    g = torch.Generator().manual_seed(0)
    shapes = {"A": (nx, nx), "B1": (nx, nv), "B2": (nx, nu), "C1": (nv, nx), "D11": (nv, nv), "D12": (nv, nu),
              "C2": (ny, nx), "D21": (ny, nv), "D22": (ny, nu), "bx": (nx,), "bv": (nv,), "by": (ny,)}  # fmt: skip
    blocks = {k: torch.randn(s, generator=g, dtype=F64) for k, s in shapes.items()}
    blocks = {k: 0.1 * b / max(float(b.norm()), 1e-9) if b.numel() else b for k, b in blocks.items()}
    blocks["D22"] = blocks["D22"] + torch.eye(ny, nu, dtype=F64)
    if dt is None:
        blocks["A"] = blocks["A"] - torch.eye(nx, dtype=F64)
    lfr = LFR(**blocks, dt=dt, **labels).to(dtype)
    return lfr, Witness(torch.eye(nx, dtype=F64), torch.ones(nv, dtype=F64))


def _claims(sizes: tuple[int, ...]) -> list:
    nu, _, _, ny = sizes
    eye = [torch.eye(n) for n in (ny, nu)]
    claims = [WellPosed(), Monotone(0.5), Contracting(), Contracting(0.6), Lipschitz(3.0), Lipschitz(3.0, (1.5,) * nu),
              Dissipative(-eye[0], torch.zeros(nu, ny), 9 * eye[1])]  # fmt: skip
    return claims + ([Passive(0.1), Passive(0.1, 0.1)] if nu == ny else [])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("dt", [0.1, None])
@pytest.mark.parametrize("sizes", SIZES)
def test_every_kind_of_certificate_is_checked_from_its_files_alone(sizes, dt, dtype, tmp_path: Path) -> None:
    lfr, witness = _model(sizes, dt, dtype)
    for i, claim in enumerate(_claims(sizes)):
        cert = certify(claim, lfr, witness)
        path = tmp_path / f"{i}.cert.json"
        cert.save(path)
        verdict = eqnets_verify.verify(path)
        assert verdict.digest == cert.digest and verdict.claim["kind"] == claim.kind
        assert "not of the plant" in verdict.sentence
        assert verify(path, lfr) == cert.claim
        again = Certificate.load(path, lfr)
        assert (again.margin, again.rate, again.sentence) == (cert.margin, cert.rate, cert.sentence)


def test_the_weights_beside_a_certificate_are_the_weights(tmp_path: Path) -> None:
    for dtype in (torch.float32, F64):
        lfr, witness = _model(SIZES[0], 0.1, dtype)
        certify(Contracting(), lfr, witness).save(tmp_path / "a.cert.json")
        stored = load_file(tmp_path / "a.safetensors")
        assert stored.keys() == lfr.blocks().keys()
        assert all(torch.equal(stored[k], b) and stored[k].dtype == dtype for k, b in lfr.blocks().items())


@pytest.mark.parametrize("sizes", [(1, 2, 3, 1), (2, 10, 20, 1), (1, 20, 60, 2)])
@pytest.mark.parametrize("acyclic", [True, False])
def test_models_by_construction_are_proved_after_rounding_to_float32(sizes, acyclic, tmp_path: Path) -> None:
    for seed, (kind, claim) in enumerate(((ContractingREN, Contracting(0.95)), (LipschitzREN, Lipschitz(2.0)))):
        promise = {"rate": 0.95} if kind is ContractingREN else {"gamma": 2.0}
        g = torch.Generator().manual_seed(seed)
        model = kind(*sizes, **promise, acyclic=acyclic, generator=g, dtype=F64)
        certify(claim, model.explicit().detach().to(torch.float32), model.witness()).save(tmp_path / "a.cert.json")
        assert eqnets_verify.verify(tmp_path / "a.cert.json").claim["kind"] == claim.kind


def test_a_model_of_the_size_of_the_f16_is_proved_and_checked_in_seconds(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(0)
    model = ContractingREN(2, 75, 150, 3, rate=0.99, generator=g, dtype=F64)
    began = time.process_time()
    certify(Contracting(0.99), model.explicit().detach(), model.witness()).save(tmp_path / "a.cert.json")
    proved = time.process_time()
    assert eqnets_verify.verify(tmp_path / "a.cert.json").claim["kind"] == "contracting"
    assert proved - began < 20 and time.process_time() - proved < 20  # 1 s and 1 s on a quiet core


# the program ----------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, LFR]:
    lfr, witness = _model(SIZES[0], 0.1, **LABELS)
    certify(Lipschitz(3.0), lfr, witness).save(tmp_path / "a.cert.json")
    return tmp_path / "a.cert.json", lfr


def test_exit_codes(saved, capsys) -> None:
    path, lfr = saved
    assert main([str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("holds: ") and "'force': 1.0 'N'" in out and lfr.digest() in out
    assert main([str(path), str(path.parent / "a.safetensors")]) == 0
    weights = path.parent / "a.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert main([str(path)]) == 1
    assert "sha256" in capsys.readouterr().err
    for wrong in ([], ["--help"], ["a", "b", "c"], [str(path.parent / "none.json")], [str(path), "none"]):
        assert main(wrong) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1


def test_it_runs_on_bare_python(saved) -> None:
    """In a process without any package but the checker: no torch, no numpy, no eqnets."""
    path, _ = saved
    code = (
        f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p] + [{str(PACKAGE.parent)!r}]\n"
        "for name in ('torch', 'numpy', 'eqnets', 'scipy', 'safetensors'): sys.modules[name] = None\n"
        f"from eqnets_verify.__main__ import main; sys.exit(main([{str(path)!r}]))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0 and run.stdout.startswith("holds: "), run.stderr
    module = [sys.executable, "-m", "eqnets_verify", str(path)]
    assert subprocess.run(module, capture_output=True, timeout=60, check=False, env=os.environ).returncode == 0


def test_it_is_small_and_imports_the_standard_library_only() -> None:
    lines = 0
    for file in PACKAGE.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        code = {i for i, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
        for node in ast.walk(ast.parse(text)):
            words = node.body[0] if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) else None
            if isinstance(words, ast.Expr):  # a docstring is none of the lines of code
                code -= set(range(words.lineno, (words.end_lineno or words.lineno) + 1))
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names | {"eqnets_verify"}, f"{file.name} imports {name}"
        lines += len(code)
    assert lines <= 400, lines


def test_its_slope_lemmas_are_those_of_the_library() -> None:
    for name in [
        *nonlinearity.names(), "leaky_relu(0.3)", "leaky_relu(1e-05)", "leaky_relu(1.0)", "elu(2.5)",
        "elu(0.0)", "softshrink(0.1)",
    ]:  # fmt: skip
        known = nonlinearity.get(name)
        assert _slopes([known.name] * 2, 2) == [known.slope] * 2, name
    for false in ("nothing", "leaky_relu(1.5)", "leaky_relu(-0.5)", "leaky_relu(nan)", "relu,relu,relu", "relu,", ""):
        with pytest.raises(eqnets_verify.Rejected, match="slope lemma"):
            _slopes(false.split(",") if "," in false else [false] * 2, 2)


# what is wrong with a file --------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys, value, words", [
    (("format",), "zip", "not an eqnets"), (("version",), 3, "version"), (("version",), True, "version"),
    (("note",), 1, "unknown or missing keys: note"), (("claim",), "lipschitz", "claim"),
    (("claim", "kind"), "robust", "claims 'robust'"), (("claim", "kind"), ["lipschitz"], "claims"),
    (("claim", "kind"), "contracting", "keys"), (("claim", "gamma"), "3", "gamma"), (("claim", "gamma"), True, "gamma"),
    (("claim", "gamma"), 10**400, "gamma"), (("claim", "gamma"), -3.0, "gamma"), (("claim", "gamma"), 1.0, "positive"),
    (("claim", "u_scale"), [1.0], "u_scale"), (("claim", "u_scale"), [1.0, -1.0], "u_scale"),
    (("claim", "u_scale"), [9.0, 9.0], "positive definite"), (("rate",), 0.001, "'rate'"), (("rate",), 1.5, "imply"),
    (("P",), [], "P or"), (("P",), [[1.0], [1.0]], "triangle"), (("P", 0, 0), -1.0, "'P'"), (("P", 0, 0), None, "P"),
    (("Lambda", 0), 0.0, "Lambda"), (("Lambda", 0), -1.0, "Lambda"), (("Lambda",), [1.0], "Lambda"),
    (("labels", "u_units"), ["kN", "kN"], "u_units"), (("labels", "u_units"), ["N"], "u_units"),
    (("labels", "u_names"), [1, 2], "u_names"), (("activation",), "gelu", "other weights"),
    (("dt",), 0.2, "other weights"), (("digest",), "0", "other weights"), (("weights", "sha256"), "0", "sha256"),
    (("proof", "inequality"), None, "'inequality'"), (("proof", "P"), None, "'P'"), (("proof", "rate"), None, "'rate'"),
    (("proof", "inequality", "shift"), -1.0, "'inequality'"), (("proof", "inequality", "shift"), 1e-9, "'ineq"),
    (("proof", "inequality", "bits"), 10**9, "'inequality'"), (("proof", "inequality", "L"), [], "'inequality'"),
    (("proof", "inequality", "L", 3, 1), 2**300, "'inequality'"), (("proof", "inequality", "scale", 0), 10**9, "'ineq"),
    (("proof", "inequality", "L", 0, 0), 0.5, "L"), (("unchecked",), 0, "unchecked"),
])  # fmt: skip
def test_whatever_is_changed_is_named(saved, keys, value, words: str) -> None:
    path, lfr = saved
    change(path, *keys, to=value)
    with pytest.raises(eqnets_verify.Rejected, match=words):
        eqnets_verify.verify(path)
    if keys[0] != "weights":  # the library is given the system itself
        with pytest.raises(CertificateError, match="does not hold"):
            verify(path, lfr)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"a": 1, "a": 2}', '{"gamma": NaN}', "\ufeff{}"])
def test_text_that_is_no_certificate(saved, text: str) -> None:
    path, _ = saved
    path.write_text(text, encoding="utf-8")
    with pytest.raises(eqnets_verify.Rejected):
        eqnets_verify.verify(path)


@pytest.mark.parametrize("damage", ["short", "header", "no A", "nan", "ints", "shape", "offsets"])
def test_damaged_weights_are_rejected(saved, damage: str, tmp_path: Path) -> None:
    path, lfr = saved
    tensors = {name: block.clone() for name, block in lfr.blocks().items()}
    weights = tmp_path / "other.safetensors"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["weights"] = None
    path.write_text(json.dumps(document), encoding="utf-8")
    if damage == "no A":
        del tensors["A"]
    elif damage == "nan":
        tensors["A"][0, 0] = torch.nan
    elif damage == "ints":
        tensors["A"] = tensors["A"].long()
    elif damage == "shape":
        tensors["B1"] = tensors["B1"].T.contiguous()
    save_file(tensors, weights)
    data = weights.read_bytes()
    if damage in ("short", "header"):
        weights.write_bytes(data[: {"short": 4, "header": 40}[damage]])
    elif damage == "offsets":
        (end,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + end])
        header["A"]["data_offsets"] = [-8, 64]
        text = json.dumps(header).encode()
        weights.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + end :])
    with pytest.raises(eqnets_verify.Rejected):
        eqnets_verify.verify(path, weights)


def test_a_gain_between_different_units_needs_scales(tmp_path: Path) -> None:
    lfr, witness = _model(SIZES[0], 0.1, u_units=("N", "K"))
    certify(Lipschitz(3.0, (1.0, 1.0)), lfr, witness).save(tmp_path / "a.cert.json")
    document = json.loads((tmp_path / "a.cert.json").read_text(encoding="utf-8"))
    document["claim"]["u_scale"] = None
    (tmp_path / "a.cert.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(eqnets_verify.Rejected, match="different units"):
        eqnets_verify.verify(tmp_path / "a.cert.json")


def test_the_residual_check_is_exact_at_its_boundary() -> None:
    # M = c I with L = 0: the residual is |M − c|, and it has to be below c, strictly
    for entry, holds in ((0.0, False), (2.0**-60, True), (1.0, True), (2.0, False), (2.0 - 2.0**-52, True)):
        assert is_positive(dyadic([[entry]]), [0], 1.0, 0, [[0]]) is holds
    M = dyadic([[1.0, 1.0 - 2.0**-53], [1.0 - 2.0**-53, 1.0]])
    assert not is_positive(M, [0, 0], 2.0**-54, 0, [[1], [1, 0]]) and not is_positive(M, [0], 1.0, 0, [[0]])
