"""MATLAB and Simulink: a .mat file with everything a step needs, and the step itself as a few lines of MATLAB."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat, savemat
from torch import Tensor

from eqnets.certification import Certificate
from eqnets.interop import portable
from eqnets.interop.formulas import in_matlab, kinds, per_neuron
from eqnets.interop.subject import Export, Subject, staged
from eqnets.system.lfr import BLOCKS, LFR

_VECTORS = ("bx", "bv", "by", "p", "t")
_NUMBERS = (*BLOCKS, "C", "K", "p", "t")


def to_mat(
    lfr: LFR, folder: str | os.PathLike[str], *, certificate: Certificate | None = None,
    x0: Tensor | np.ndarray | None = None, u: Tensor | np.ndarray | None = None, name: str = "model",
    force: bool = False,
) -> Export:  # fmt: skip
    """Write NAME.mat and NAME_step.m: `m = load('NAME.mat'); x = m.x0; [y, x] = NAME_step(m, x, u)`.

    NAME.mat holds the blocks and biases, the activation's name, dt, names and units, P and Λ with the claim's sentence
    where a certificate is given, what the step needs for a full D11, and the stored vectors: `check_u` (time, nu,
    batch), `check_y`, `check_x_last`. The file, read back, is what is held against the model.

    Args:
        lfr: a discrete LFR.
        folder: where the files go.
        certificate: of this LFR.
        x0: (nx,) the initial state; None is zero.
        u: (time, nu) or (batch, time, nu) inputs of the stored vectors; None draws standard normal ones.
        name: of the files and the function.
        force: whether files of these names may be replaced.

    Returns:
        The files, and how far they are from the model.

    Raises:
        InputError: what `Subject.of` refuses, a nonlinearity without a name, or a file that stands there.
        NotCertified: a full D11 whose equation nothing proves to have one solution.
        EqnetsError: the file, read back, differs from the model.
    """  # noqa: DOC502
    files = (f"{name}.mat", f"{name}_step.m")
    with staged(folder, files, force) as (stage, paths):
        subject = Subject.of(lfr, certificate, x0, u, name)
        (stage / files[1]).write_text(_step(subject), encoding="utf-8")
        savemat(stage / files[0], _content(subject), oned_as="column", do_compression=True)
        return Export(paths, subject.vectors.compare(*_roll(subject, stage / files[0]), "float64", "the .mat file"))


def _content(subject: Subject) -> dict[str, Any]:
    lfr, neurons, vectors = subject.lfr, subject.neurons, subject.vectors
    content: dict[str, Any] = {block: value.numpy() for block, value in lfr.blocks().items()}
    content |= {
        "activation": lfr.activation.name, "dt": lfr.dt, "x0": vectors.x0, "claim": subject.claim,
        "sha256": lfr.digest(), "about": "\n".join(subject.lines()),
        "u_names": _cells(subject.names("u")), "y_names": _cells(subject.names("y")),
        "u_units": _cells(lfr.u_units or [""] * lfr.nu), "y_units": _cells(lfr.y_units or [""] * lfr.ny),
        "C": neurons.C, "K": neurons.K, "p": neurons.p, "t": neurons.t, "steps": float(neurons.steps),
        "check_u": np.moveaxis(vectors.u, 0, 2), "check_y": np.moveaxis(vectors.y, 0, 2),
        "check_x_last": vectors.x_last.T,
    }  # fmt: skip
    if subject.certificate is not None:
        witness = subject.certificate.witness
        content |= {"P": witness.P.numpy(), "Lambda": witness.Lambda.numpy()}
    return content


def _cells(words: Any) -> np.ndarray:
    cells = np.empty((len(words), 1), dtype=object)
    cells[:, 0] = list(words)
    return cells


def _roll(subject: Subject, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the file, read back, answers to the stored inputs, by the lines of NAME_step.m."""
    content = loadmat(path)
    model = {key: content[key].ravel() if key in _VECTORS else content[key] for key in _NUMBERS}
    model |= {"steps": int(content["steps"][0, 0]), "activation": per_neuron(subject.lfr.activation, subject.lfr.nv)}
    outputs, last = [], []
    for u in np.moveaxis(content["check_u"], 2, 0):
        x, y = content["x0"].ravel(), []
        for u_t in u:
            y.append(portable.output(model, x, u_t))
            x = portable.following(model, x, u_t)
        outputs.append(y)
        last.append(x)
    return np.array(outputs).reshape(subject.vectors.y.shape), np.array(last)


def _step(subject: Subject) -> str:
    name = subject.name
    groups = kinds(subject.lfr.activation, subject.lfr.nv)
    phi = []
    for kind, members in groups.items():
        if len(groups) == 1:
            phi = [f"w = {in_matlab(kind)};"]
            break
        rows = " ".join(str(i + 1) for i in members)
        phi += [f"v = all([{rows}]); w([{rows}], 1) = {in_matlab(kind)};"]
    return "\n".join(
        [
            f"function [y, x] = {name}_step(m, x, u)",
            f"%{name.upper()}_STEP One step: m = load('{name}.mat'), x (nx,1) from m.x0 on, u (nu,1); y (ny,1).",
            *(f"% {line}" for line in subject.lines()),
            "b = m.C1 * x + m.D12 * u + m.bv;",
            "r = m.K * b;",
            "for k = 1:m.steps",
            "    r = m.C * (m.p .* phi(r) - m.t .* r) + m.K * b;",
            "end",
            "w = phi(r);",
            "y = m.C2 * x + m.D21 * w + m.D22 * u + m.by;",
            "x = m.A * x + m.B1 * w + m.B2 * u + m.bx;",
            "end",
            "",
            f"function w = phi({'v' if len(groups) <= 1 else 'all'})",
            *(phi or ["w = v;"]),
            "end",
            "",
        ]
    )
