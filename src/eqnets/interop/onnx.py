"""ONNX: one step, and a rollout of any length, written node by node in the standard's operators. The door of `onnx`.

The neurons are a Loop of a fixed number of steps, the rollout is a Scan over the step: the graph has the same size for
every number of samples, and opset 17 is old enough for embedded runtimes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from eqnets.certification import Certificate
from eqnets.errors import EqnetsError, InputError
from eqnets.interop.graph import Graph, phi
from eqnets.interop.subject import Export, Subject, staged
from eqnets.interop.vectors import Agreement
from eqnets.system.lfr import LFR

OPSET, IR = 17, 8


def to_onnx(
    lfr: LFR, folder: str | os.PathLike[str], *, certificate: Certificate | None = None,
    x0: Tensor | np.ndarray | None = None, u: Tensor | np.ndarray | None = None, name: str = "model",
    dtype: str = "float64", force: bool = False,
) -> Export:  # fmt: skip
    """Write NAME_step.onnx, (u (batch, nu), x) ↦ (y, x_next), and NAME_rollout.onnx, (u (batch, time, nu), x0) ↦ (y, x_last).

    Both have been run by onnxruntime on the stored vectors. Their metadata hold names, units, dt, x0, the claim's
    sentence, the model's sha256, and the steps of the neurons with the error that they leave.

    Args:
        lfr: a discrete LFR.
        folder: where the files go.
        certificate: of this LFR; its Λ bounds the steps of a full D11.
        x0: (nx,) the initial state, for the metadata and the stored vectors; None is zero.
        u: (time, nu) or (batch, time, nu) inputs of the stored vectors; None draws standard normal ones.
        name: of the files.
        dtype: "float64" or "float32".
        force: whether files of these names may be replaced.

    Returns:
        The files, and how far the worse of them is from the model.

    Raises:
        InputError: what `Subject.of` refuses, a nonlinearity that ONNX cannot write, no inputs or outputs, or a file
            that stands there.
        NotCertified: a full D11 whose equation nothing proves to have one solution.
        EqnetsError: a graph cannot be run, or differs from the model.
    """  # noqa: DOC502, E501
    files = (f"{name}_step.onnx", f"{name}_rollout.onnx")
    with staged(folder, files, force) as (stage, paths):
        subject = Subject.of(lfr, certificate, x0, u, name, dtype)
        if not (lfr.nu and lfr.ny):
            raise InputError(f"an ONNX graph needs inputs and outputs; this model has {lfr.nu} and {lfr.ny}.")
        for path, model in zip(files, (_step_model(subject), _rollout_model(subject)), strict=True):
            onnx.checker.check_model(model, full_check=True)
            (stage / path).write_bytes(model.SerializeToString())
        agreements = [_measure(subject, str(stage / path)) for path in files]
        return Export(paths, max(agreements, key=lambda agreement: agreement.error or 0.0))


def _affine(graph: Graph, subject: Subject, bias: str, *terms: tuple[str, str]) -> str:
    """Bias + Σ signal @ blockᵀ, for rows of signals."""
    blocks = subject.lfr.blocks()
    total = graph.constant(bias, blocks[bias].numpy())
    for block, signal in terms:
        if blocks[block].numel():
            product = graph.node("MatMul", signal, graph.constant(f"{block}_T", blocks[block].numpy().T))
            total = graph.node("Add", total, product)
    return total


def _step(graph: Graph, subject: Subject, u: str, x: str) -> tuple[str, str]:
    """The nodes of one step; the names of y and of the next state."""
    lfr, w = subject.lfr, ""
    if lfr.nv:
        b = _affine(graph, subject, "bv", ("C1", x), ("D12", u))
        w = _neurons(graph, subject, b)
    y = _affine(graph, subject, "by", ("C2", x), ("D21", w), ("D22", u))
    following = _affine(graph, subject, "bx", ("A", x), ("B1", w), ("B2", u)) if lfr.nx else graph.node("Identity", x)
    return y, following


def _neurons(graph: Graph, subject: Subject, b: str) -> str:
    neurons, activation = subject.neurons, subject.lfr.activation
    r = start = b if neurons.exact else graph.node("MatMul", b, graph.constant("K_T", neurons.K.T))
    if neurons.steps:
        C = graph.constant("C_T", neurons.C.T)
        body = Graph(graph.dtype, "neurons", graph.constants)  # it sees constants and `start` outside
        z = phi(body, activation, subject.lfr.nv, "r")
        if not neurons.exact:
            scaled = body.node("Mul", body.constant("p", neurons.p), z)
            z = body.node("Sub", scaled, body.node("Mul", body.constant("t", neurons.t), "r"))
        renewed = body.node("Add", start, body.node("MatMul", z, C))
        more = body.node("Identity", "more")
        shape = ["batch", subject.lfr.nv]
        loop = helper.make_graph(
            body.nodes, "neurons",
            [helper.make_tensor_value_info("k", TensorProto.INT64, []),
             helper.make_tensor_value_info("more", TensorProto.BOOL, []), graph.value("r", shape)],
            [helper.make_tensor_value_info(more, TensorProto.BOOL, []), graph.value(renewed, shape)],
        )  # fmt: skip
        steps = graph.constant("steps", np.array(neurons.steps, dtype=np.int64))
        r = graph.node("Loop", steps, "", start, body=loop)
    return phi(graph, activation, subject.lfr.nv, r)


def _step_model(subject: Subject) -> onnx.ModelProto:
    lfr, graph = subject.lfr, Graph(subject.dtype, "step")
    y, following = _step(graph, subject, "u", "x")
    graph.rename({y: "y", following: "x_next"})
    inputs = [graph.value("u", ["batch", lfr.nu]), graph.value("x", ["batch", lfr.nx])]
    outputs = [graph.value("y", ["batch", lfr.ny]), graph.value("x_next", ["batch", lfr.nx])]
    return _model(subject, "step", graph, inputs, outputs)


def _rollout_model(subject: Subject) -> onnx.ModelProto:
    lfr, graph = subject.lfr, Graph(subject.dtype, "rollout")
    body = Graph(subject.dtype, "step", graph.constants)
    y, following = _step(body, subject, "u_t", "x_t")
    scan = helper.make_graph(
        body.nodes, "step",
        [graph.value("x_t", ["batch", lfr.nx]), graph.value("u_t", ["batch", lfr.nu])],
        [graph.value(following, ["batch", lfr.nx]), graph.value(y, ["batch", lfr.ny])],
    )  # fmt: skip
    graph.nodes.append(
        helper.make_node(
            "Scan",
            ["x0", "u"],
            ["x_last", "y"],
            body=scan,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
    )
    inputs = [graph.value("u", ["batch", "time", lfr.nu]), graph.value("x0", ["batch", lfr.nx])]
    outputs = [graph.value("y", ["batch", "time", lfr.ny]), graph.value("x_last", ["batch", lfr.nx])]
    return _model(subject, "rollout", graph, inputs, outputs)


def _model(
    subject: Subject, what: str, graph: Graph, inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:  # fmt: skip
    constants = [numpy_helper.from_array(value, name) for name, value in graph.constants.items()]
    proto = helper.make_graph(graph.nodes, f"{subject.name}_{what}", inputs, outputs, constants)
    model = helper.make_model(
        proto, producer_name="eqnets", ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)],
        doc_string="\n".join(subject.lines()),
    )  # fmt: skip
    facts = {key: json.dumps(value, ensure_ascii=False) for key, value in subject.facts.items()}
    helper.set_model_props(model, facts)
    return model


def _measure(subject: Subject, path: str) -> Agreement:
    vectors = subject.vectors
    u = vectors.u.astype(subject.dtype)
    x = np.repeat(vectors.x0.astype(subject.dtype)[None], len(u), axis=0)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        if path.endswith("_rollout.onnx"):
            y, x = session.run(None, {"u": u, "x0": x})
        else:
            outputs = []
            for t in range(u.shape[1]):
                y_t, x = session.run(None, {"u": u[:, t], "x": x})
                outputs.append(y_t)
            y = np.stack(outputs, axis=1)
    except Exception as error:  # onnxruntime's own exceptions share no base class
        raise EqnetsError(f"onnxruntime cannot run the exported graph: {' '.join(str(error).split())[:300]}") from error
    return vectors.compare(np.asarray(y, dtype=float), np.asarray(x, dtype=float), subject.dtype, "the ONNX graph")
