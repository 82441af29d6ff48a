"""torch.export: a step, or a rollout of a fixed number of samples, as a program that needs torch alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from eqnets.certification import Certificate
from eqnets.errors import InputError
from eqnets.interop.subject import Subject
from eqnets.system.lfr import LFR


def to_program(
    lfr: LFR, *, time: int | None = None, certificate: Certificate | None = None,
    x0: Tensor | np.ndarray | None = None, u: Tensor | np.ndarray | None = None, dtype: str = "float64",
) -> ExportedProgram:  # fmt: skip
    """A step (u (batch, nu), x (batch, nx)) ↦ (y, x⁺), or a rollout (u (batch, time, nu), x0) ↦ (y, x_last).

    It is held against the model on stored vectors before it is returned. Write it with `torch.export.save`. Names,
    units, the claim and the steps of the neurons with the error that they leave are in `graph_module.meta["eqnets"]`.

    Args:
        lfr: a discrete LFR.
        time: the number of samples of a rollout, unrolled into the graph; None is a step.
        certificate: of this LFR; its Λ bounds the steps of a full D11.
        x0: (nx,) the state that the stored vectors start from; None is zero.
        u: (time, nu) or (batch, time, nu) inputs of the stored vectors; None draws standard normal ones. A rollout
            needs at least `time` samples.
        dtype: "float64" or "float32".

    Returns:
        The program; the batch may have any size.

    Raises:
        InputError: what `Subject.of` refuses, or a time that is no positive number or longer than u.
        NotCertified: a full D11 whose equation nothing proves to have one solution.
        EqnetsError: the program differs from the model.
    """  # noqa: DOC502
    if time is not None and (isinstance(time, bool) or not isinstance(time, int) or time < 1):
        raise InputError(f"time must be a positive number of samples, or None for a step; got {time!r}.")
    if time is not None:
        u = torch.randn(2, time, lfr.nu, generator=torch.Generator().manual_seed(0)) if u is None else u[..., :time, :]
    subject = Subject.of(lfr, certificate, x0, u, dtype=dtype)
    vectors, kind = subject.vectors, getattr(torch, dtype)
    inputs = torch.from_numpy(vectors.u).to(kind)
    if time is not None and inputs.shape[1] < time:
        raise InputError(f"the check inputs u have {inputs.shape[1]} samples, fewer than time = {time}; give more.")
    module = (_Step if time is None else _Rollout)(subject).to(kind).eval()
    x = torch.from_numpy(vectors.x0).to(kind).expand(len(inputs), -1).contiguous()
    example = (inputs[:, 0] if time is None else inputs, x)
    batch = Dim("batch", min=1)
    with torch.no_grad():
        twice = tuple(torch.cat([part, part]) for part in example)  # torch would take a batch of one for a constant
        program = torch.export.export(module, twice, dynamic_shapes=({0: batch}, {0: batch}))
        run = program.module()
        if time is not None:
            y, x = run(inputs, x)
        else:
            outputs = []
            for u_t in inputs.unbind(1):
                y_t, x = run(u_t, x)
                outputs.append(y_t)
            y = torch.stack(outputs, 1)
    vectors.compare(y.double().numpy(), x.double().numpy(), dtype, "the torch program")
    program.graph_module.meta["eqnets"] = subject.facts
    return program


class _Step(nn.Module):
    """One step at a fixed cost; buffers hold the weights."""

    A: Tensor
    B1: Tensor
    B2: Tensor
    C1: Tensor
    C2: Tensor
    D12: Tensor
    D21: Tensor
    D22: Tensor
    bx: Tensor
    bv: Tensor
    by: Tensor
    C: Tensor
    K: Tensor
    p: Tensor
    t: Tensor

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        lfr, neurons = subject.lfr, subject.neurons
        for name, value in lfr.blocks().items():
            if name != "D11":  # it is in C and K
                self.register_buffer(name, value.clone())
        for name in ("C", "K", "p", "t"):
            self.register_buffer(name, torch.from_numpy(getattr(neurons, name).copy()))
        self.phi, self.steps = lfr.activation.value, neurons.steps

    def forward(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        start = (x @ self.C1.mT + u @ self.D12.mT + self.bv) @ self.K.mT
        r = start
        for _ in range(self.steps):
            r = start + (self.p * self.phi(r) - self.t * r) @ self.C.mT
        w = self.phi(r)
        y = x @ self.C2.mT + w @ self.D21.mT + u @ self.D22.mT + self.by
        return y, x @ self.A.mT + w @ self.B1.mT + u @ self.B2.mT + self.bx


class _Rollout(nn.Module):
    """Steps over the samples of u (batch, time, nu)."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.step = _Step(subject)

    def forward(self, u: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for u_t in u.unbind(1):
            y, x = self.step(u_t, x)
            outputs.append(y)
        return torch.stack(outputs, 1), x
