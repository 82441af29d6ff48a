"""ONNX: what the runtime computes is simulate, for one step and for rollouts of any length and batch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.interop.systems import ACTIVATIONS, SIZES, certified, inputs, random_lfr, start

import eqnets.interop as interop
from eqnets.errors import EqnetsError, InputError
from eqnets.system.simulate import simulate

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("acyclic", [True, False])
def test_every_size_is_equal_to_the_model(acyclic, dtype, tmp_path):
    for i, sizes in enumerate(size for size in SIZES if size[2] and size[3]):
        lfr = random_lfr(sizes, acyclic)
        export = interop.to_onnx(lfr, tmp_path / str(i), x0=start(lfr), dtype=dtype)
        assert export.agreement.error <= (1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("acyclic", [True, False])
def test_every_activation_is_equal_to_the_model(acyclic, dtype, tmp_path):
    for i, activation in enumerate(ACTIVATIONS):
        lfr = random_lfr((2, 5, 1, 1), acyclic, activation)
        if "gelu" in activation and dtype == "float64":
            with pytest.raises(InputError, match="gelu has one in float32"):
                interop.to_onnx(lfr, tmp_path / str(i))
            continue
        export = interop.to_onnx(lfr, tmp_path / str(i), u=8 * inputs(lfr), dtype=dtype)
        assert export.agreement.error <= (1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("acyclic", [True, False])
def test_rollouts_of_any_length_and_batch(acyclic, tmp_path):
    lfr, certificate = certified(acyclic)
    interop.to_onnx(lfr, tmp_path, certificate=certificate)
    rollout, step = session(tmp_path / "model_rollout.onnx"), session(tmp_path / "model_step.onnx")
    for batch, time in ((1, 1), (1, 90), (5, 7)):
        u = inputs(lfr, batch, time)
        x0 = torch.randn(batch, lfr.nx, generator=torch.Generator().manual_seed(batch), dtype=torch.float64)
        y, last = simulate(lfr, u, x0, method="reference")
        found, x_last = rollout.run(["y", "x_last"], {"u": u.numpy(), "x0": x0.numpy()})
        np.testing.assert_allclose(found, y.numpy(), atol=1e-12)
        np.testing.assert_allclose(x_last, last.numpy(), atol=1e-12)
        first, _ = step.run(["y", "x_next"], {"u": u[:, 0].numpy(), "x": x0.numpy()})
        np.testing.assert_allclose(first, y[:, 0].numpy(), atol=1e-12)


def test_the_graph_says_what_it_is(tmp_path):
    lfr, certificate = certified(acyclic=False)
    x0 = start(lfr)
    interop.to_onnx(lfr, tmp_path, certificate=certificate, x0=x0)
    for name in ("model_step.onnx", "model_rollout.onnx"):
        model = onnx.load(tmp_path / name)
        facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
        assert facts["claim"] == certificate.sentence and facts["sha256"] == lfr.digest()
        assert facts["u_units"] == ["N", "m³/s"] and facts["dt"] == 0.05 and facts["x0"] == x0.tolist()
        assert "Peaceman-Rachford" in model.doc_string
        neurons = facts["neurons"]
        assert neurons["contraction_per_step"] ** neurons["steps"] == neurons["error_factor_at_most"] < 2.3e-16
        assert {entry.domain for entry in model.opset_import} == {""}


@pytest.mark.parametrize(("dtype", "unit"), [("float64", 2.0**-52), ("float32", 2.0**-23)])
def test_the_loop_takes_the_steps_that_the_metadata_state(dtype, unit, tmp_path):
    lfr, certificate = certified(acyclic=False)
    interop.to_onnx(lfr, tmp_path, certificate=certificate, dtype=dtype)
    model = onnx.load(tmp_path / "model_step.onnx")
    neurons = json.loads(next(entry.value for entry in model.metadata_props if entry.key == "neurons"))
    (steps,) = (onnx.numpy_helper.to_array(part) for part in model.graph.initializer if part.name == "steps")
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    assert loop.input[0] == "steps" and steps == neurons["steps"] > 1
    assert neurons["error_factor_at_most"] <= unit < neurons["contraction_per_step"] ** (neurons["steps"] - 1)


def test_the_rollout_is_one_scan_whatever_its_length(tmp_path):
    interop.to_onnx(random_lfr(), tmp_path)
    model = onnx.load(tmp_path / "model_rollout.onnx")
    assert [node.op_type for node in model.graph.node] == ["Scan"]


def test_a_wrong_graph_is_not_handed_out(tmp_path, monkeypatch):
    interop.to_onnx(random_lfr(), tmp_path / "good")
    monkeypatch.setattr(interop.onnx, "phi", lambda graph, activation, nv, v: graph.node("Relu", v))
    with pytest.raises(EqnetsError, match="differs from the model"):
        interop.to_onnx(random_lfr(), tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_what_onnx_cannot_write_is_refused(tmp_path):
    for sizes in ((2, 3, 0, 1), (2, 3, 1, 0)):
        with pytest.raises(InputError, match="inputs and outputs"):
            interop.to_onnx(random_lfr(sizes), tmp_path / "x")
    interop.to_onnx(random_lfr(), tmp_path)
    with pytest.raises(InputError, match="--force"):
        interop.to_onnx(random_lfr(), tmp_path)
