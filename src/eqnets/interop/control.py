"""python-control, both ways: state spaces, and the whole nonlinear model. The one door of `control`.

Its signals are (channel, time) and are transposed here; its dt is 0 for continuous time, where eqnets has None.
"""

from __future__ import annotations

import inspect
import os
import runpy
from typing import Any

import control
import numpy as np
import torch
from torch import Tensor

from eqnets.certification import Certificate
from eqnets.errors import InputError
from eqnets.interop import portable
from eqnets.interop.formulas import per_neuron
from eqnets.interop.neurons import Neurons, fixed_cost
from eqnets.interop.subject import Export, Subject, check_name, exact_system, staged
from eqnets.interop.vectors import Agreement, Vectors
from eqnets.system.lfr import LFR
from eqnets.system.lti import LTI
from eqnets.system.simulate import linearise, simulate

_POINTS = 20


def to_statespace(
    system: LTI | LFR, x: Tensor | None = None, u: Tensor | None = None, *, name: str | None = None
) -> control.StateSpace:
    """A state space: an LTI as it is, an LFR linearised at an operating point.

    Args:
        system: an LTI, or an LFR in discrete or continuous time.
        x: (nx,) the operating point's state, for an LFR; None is zero.
        u: (nu,) its input; None is zero.
        name: of the python-control system.

    Returns:
        The state space of deviations from the operating point, with the LFR's channel names.

    Raises:
        InputError: another kind of system, or an operating point of an LTI.
    """
    labels: dict[str, Any] = {"name": name} if name is not None else {}
    if isinstance(system, LTI):
        if x is not None or u is not None:
            raise InputError("an LTI is linear everywhere: leave out the operating point x, u.")
        linear, dt = system, system.dt
    else:
        exact = exact_system(system, None)
        dt = 0 if exact.dt is None else exact.dt
        linear = linearise(exact if exact.dt is not None else exact.replace(dt=1.0), x, u)  # dt enters no block
        labels |= {"inputs": _labels(exact, "u"), "outputs": _labels(exact, "y")}
    return control.StateSpace(*(getattr(linear, block).numpy() for block in "ABCD"), dt, **labels)


def from_statespace(sys: control.StateSpace, dt: float | None = None) -> LTI:
    """An LTI from a discrete python-control state space; its names go into an LFR: `.to_lfr(u_names=sys.input_labels)`.

    Args:
        sys: a state space in discrete time.
        dt: the sample time in seconds, where `sys` has none (its dt is True or None).

    Returns:
        The LTI.

    Raises:
        InputError: no state space, one in continuous time, or a dt that is missing or differs.
    """
    if not isinstance(sys, control.StateSpace):
        raise InputError(f"from_statespace needs a control.StateSpace, got {type(sys).__name__}; use control.ss(sys).")
    own = None if sys.dt is True or sys.dt is None else float(sys.dt)  # True: discrete, at an unknown rate
    if own == 0:
        raise InputError("this state space is in continuous time; sample it: control.sample_system(sys, dt, 'zoh').")
    if own is not None and dt is not None and dt != own:
        raise InputError(f"this state space has dt = {own} s, not {dt} s; leave dt out.")
    settled = own if own is not None else dt
    if settled is None:
        raise InputError("this state space has no sample time; give from_statespace(sys, dt=…) in seconds.")
    return LTI(*(torch.from_numpy(np.array(getattr(sys, block), dtype=float)) for block in "ABCD"), dt=settled)


def to_nlsys(lfr: LFR, *, certificate: Certificate | None = None, name: str = "model") -> control.NonlinearIOSystem:
    """The whole LFR as a python-control system, in numpy; simulate it with `control.input_output_response`.

    It is compared with the model before it is returned: at random points, and in discrete time over stored vectors too.

    Args:
        lfr: in discrete or continuous time.
        certificate: of this LFR; its Λ bounds the steps of a full D11.
        name: of the system.

    Returns:
        The system, with the LFR's channel names ('.' becomes '_', which python-control does not allow).

    Raises:
        InputError: what `Subject.of` refuses, or a nonlinearity without a name.
        NotCertified: a full D11 whose equation nothing proves to have one solution.
        EqnetsError: it differs from the model.
    """  # noqa: DOC502
    exact = exact_system(lfr, certificate)
    check_name(name)
    model = _model(exact, fixed_cost(exact, certificate, float(np.finfo(np.float64).eps)))
    system = control.nlsys(
        (lambda t, x, u, params: portable.following(model, x, u)) if exact.nx else None,
        lambda t, x, u, params: portable.output(model, x, u),
        **_settings(exact, name),
    )
    _check_points(system, exact)
    if exact.dt is not None:
        _check_rollout(system, Vectors.of(exact, np.zeros(exact.nx)), exact.dt)
    return system


def to_control(
    lfr: LFR, folder: str | os.PathLike[str], *, certificate: Certificate | None = None,
    x0: Tensor | np.ndarray | None = None, u: Tensor | np.ndarray | None = None, name: str = "model",
    force: bool = False,
) -> Export:  # fmt: skip
    """Write NAME.py, which needs numpy and control alone: `from NAME import system, INITIAL`.

    Args:
        lfr: a discrete LFR.
        folder: where the file goes.
        certificate: of this LFR; its sentence stands in the file, and Λ bounds the steps of a full D11.
        x0: (nx,) the state INITIAL; None is zero.
        u: (time, nu) or (batch, time, nu) inputs of the stored vectors; None draws standard normal ones.
        name: of the file and the system.
        force: whether a file of this name may be replaced.

    Returns:
        The file, and how far it is from the model.

    Raises:
        InputError: what `Subject.of` refuses, a nonlinearity without a name, or a file that stands there.
        NotCertified: a full D11 whose equation nothing proves to have one solution.
        EqnetsError: the file, run, differs from the model.
    """  # noqa: DOC502
    with staged(folder, (f"{name}.py",), force) as (stage, paths):
        subject = Subject.of(lfr, certificate, x0, u, name)
        path = stage / f"{name}.py"
        path.write_text(_script(subject), encoding="utf-8")
        names = runpy.run_path(str(path))
        _check_points(names["system"], subject.lfr)
        assert subject.lfr.dt is not None
        return Export(paths, _check_rollout(names["system"], subject.vectors, subject.lfr.dt, names["INITIAL"]))


def _labels(lfr: LFR, which: str) -> list[str]:
    given = lfr.u_names if which == "u" else lfr.y_names
    count = lfr.nu if which == "u" else lfr.ny
    return [label.replace(".", "_") for label in given or (f"{which}{i + 1}" for i in range(count))]


def _settings(lfr: LFR, name: str) -> dict[str, Any]:
    states = (
        {"states": [f"x{i + 1}" for i in range(lfr.nx)]} if lfr.nx else {}
    )  # none may be named where there are none
    dt = 0 if lfr.dt is None else lfr.dt
    return {"inputs": _labels(lfr, "u"), "outputs": _labels(lfr, "y"), **states, "dt": dt, "name": name}


def _model(lfr: LFR, neurons: Neurons) -> dict[str, Any]:
    """What `portable` calls a model."""
    blocks = {block: value.numpy() for block, value in lfr.blocks().items()}
    solved = {"C": neurons.C, "K": neurons.K, "p": neurons.p, "t": neurons.t, "steps": neurons.steps}
    return {**blocks, **solved, "activation": per_neuron(lfr.activation, lfr.nv)}


def _check_points(system: control.NonlinearIOSystem, lfr: LFR) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(_POINTS, lfr.nx, generator=generator, dtype=torch.float64)
    u = torch.randn(_POINTS, lfr.nu, generator=generator, dtype=torch.float64)
    step = lfr.replace(dt=1.0)  # x⁺ of this one is ẋ where `lfr` is in continuous time
    with torch.no_grad():
        y, following = simulate(step, u[:, None], x, method="reference")
    pairs = list(zip(x.numpy(), u.numpy(), strict=True))
    outputs = np.array([system.output(0, *pair) for pair in pairs]).reshape(_POINTS, 1, lfr.ny)
    states = np.array([system.dynamics(0, *pair) for pair in pairs]).reshape(_POINTS, lfr.nx)
    Vectors(u.numpy()[:, None], np.zeros(lfr.nx), y.numpy(), following.numpy()).compare(
        outputs, states, "float64", "the python-control system"
    )


def _check_rollout(
    system: control.NonlinearIOSystem, vectors: Vectors, dt: float, x0: np.ndarray | None = None
) -> Agreement:
    time = dt * np.arange(vectors.u.shape[1])
    outputs, states = [], []
    for u in vectors.u:
        start = vectors.x0 if x0 is None else x0
        found = control.input_output_response(system, time, u.T, start, squeeze=False, return_states=True)  # type: ignore[arg-type]
        outputs.append(np.asarray(found.outputs).T)
        x = np.asarray(found.states)[:, -1] if len(start) else np.zeros(0)
        states.append(np.asarray(system.dynamics(time[-1], x, u[-1])).reshape(len(start)))
    return vectors.compare(np.stack(outputs), np.stack(states), "float64", "the python-control system")


def _script(subject: Subject) -> str:
    model = _model(subject.lfr, subject.neurons)
    literals = {key: _literal(value) if isinstance(value, np.ndarray) else repr(value) for key, value in model.items()}
    entries = [f"    {key!r}: {literal}," for key, literal in literals.items()]
    return "\n".join(
        [
            *(f"# {line}" for line in subject.lines()), "# from " + subject.name + " import system, INITIAL",
            "# control.input_output_response(system, time, u, INITIAL), u (channel, time), time in steps of system.dt",
            "", inspect.getsource(portable), "", "import control", "", "MODEL = {", *entries, "}",
            f"INITIAL = {_literal(subject.vectors.x0)}", "system = control.nlsys(",
            "    (lambda t, x, u, params: following(MODEL, x, u))," if subject.lfr.nx else "    None,",
            "    lambda t, x, u, params: output(MODEL, x, u),",
            *(f"    {key}={value!r}," for key, value in _settings(subject.lfr, subject.name).items()), ")", "",
        ]
    )  # fmt: skip


def _literal(value: np.ndarray) -> str:
    return f"np.array({value.tolist()!r}, dtype=float).reshape({value.shape!r})"
