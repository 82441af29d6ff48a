"""python-control: its simulation of the exported system is simulate; names, sample times and transposes hold."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.interop.systems import ACTIVATIONS, SIZES, certified, inputs, random_lfr, start

import eqnets.interop as interop
from eqnets.errors import EqnetsError, InputError
from eqnets.system.lti import LTI
from eqnets.system.simulate import linearise, simulate

control = pytest.importorskip("control")


def response(system, lfr, u, x0):
    time = (lfr.dt or 1.0) * np.arange(u.shape[1])
    found = control.input_output_response(system, time, u[0].numpy().T, x0.numpy(), squeeze=False)
    return torch.from_numpy(np.array(found.outputs).T)


@pytest.mark.parametrize("acyclic", [True, False])
def test_input_output_response_is_simulate(acyclic):
    for sizes, activation in [*((sizes, "tanh") for sizes in SIZES), *(((2, 5, 1, 2), each) for each in ACTIVATIONS)]:
        lfr = random_lfr(sizes, acyclic, activation)
        u, x0 = inputs(lfr, 1, 15), start(lfr)
        y, _ = simulate(lfr, u, x0, method="reference")
        torch.testing.assert_close(response(interop.to_nlsys(lfr), lfr, u, x0), y[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("acyclic", [True, False])
def test_names_and_sample_time(acyclic):
    lfr, certificate = certified(acyclic)
    system = interop.to_nlsys(lfr, certificate=certificate, name="tank")
    assert system.input_labels == ["force", "flow_in"] and system.output_labels == ["level */"]
    assert system.dt == 0.05 and system.name == "tank" and system.nstates == 3
    assert interop.to_statespace(lfr).input_labels == ["force", "flow_in"]


def test_continuous_time_is_dt_zero_and_the_derivative():
    lfr = random_lfr((2, 3, 1, 2), acyclic=False, dt=None)
    system = interop.to_nlsys(lfr)
    assert system.dt == 0 and interop.to_statespace(lfr).dt == 0
    x, u = start(lfr), inputs(lfr, 1, 1)[0]
    _, derivative = simulate(lfr.replace(dt=1.0), u[None], x, method="reference")
    np.testing.assert_allclose(system.dynamics(0, x.numpy(), u[0].numpy()), derivative[0].numpy(), atol=1e-12)


def test_state_spaces_go_there_and_back():
    generator = torch.Generator().manual_seed(0)
    blocks = [torch.randn(shape, generator=generator).double() for shape in ((3, 3), (3, 2), (4, 3), (4, 2))]
    lti = LTI(0.3 * blocks[0], *blocks[1:], dt=0.01)
    there = interop.to_statespace(lti, name="plant")
    back = interop.from_statespace(there)
    assert there.dt == 0.01 == back.dt and there.name == "plant"
    for name in "ABCD":
        torch.testing.assert_close(getattr(back, name), getattr(lti, name), rtol=0, atol=0)
    omega = torch.tensor([1.0, 20.0, 200.0], dtype=torch.float64)
    theirs = np.moveaxis(there(np.exp(1j * omega.numpy() * 0.01)), 2, 0)
    np.testing.assert_allclose(theirs, lti.frequency_response(omega).numpy(), rtol=1e-10)


def test_a_state_space_is_the_linearisation_at_the_operating_point():
    lfr = random_lfr((2, 3, 4, 5), acyclic=False)
    x, u = start(lfr), inputs(lfr, 1, 1)[0, 0]
    there, here = interop.to_statespace(lfr, x, u), linearise(lfr, x, u)
    for name in "ABCD":
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name).numpy())
    assert np.abs(there.A - interop.to_statespace(lfr).A).max() > 1e-3  # another point, another system


def test_state_spaces_that_cannot_come_are_refused():
    def statespace(dt):
        return control.ss([[0.5]], [[1.0]], [[1.0]], [[0.0]], dt)

    assert interop.from_statespace(statespace(True), dt=0.1).dt == 0.1
    for sys_, dt, words in (
        (statespace(0), None, "sample_system"),
        (statespace(True), None, "no sample time"),
        (statespace(0.1), 0.2, "0.1 s, not 0.2 s"),
        (control.tf([1], [1, 0.5], 0.1), None, r"control\.ss"),
    ):
        with pytest.raises(InputError, match=words):
            interop.from_statespace(sys_, dt)
    with pytest.raises(InputError, match="linear everywhere"):
        interop.to_statespace(interop.from_statespace(statespace(0.1)), torch.zeros(1))


@pytest.mark.parametrize("acyclic", [True, False])
def test_the_file_needs_numpy_and_control_alone(acyclic, tmp_path):
    lfr, certificate = certified(acyclic)
    x0, u = start(lfr), inputs(lfr, 1, 30)
    export = interop.to_control(lfr, tmp_path, certificate=certificate, x0=x0, name="tank")
    assert export.agreement.error <= 1e-12 and certificate.sentence in (tmp_path / "tank.py").read_text(
        encoding="utf-8"
    )
    np.save(tmp_path / "u.npy", u[0].numpy().T)
    code = (
        "import sys; sys.modules['eqnets'] = None\n"
        "import control, numpy as np\nfrom tank import system, INITIAL\n"
        "u = np.load('u.npy')\n"
        "r = control.input_output_response(system, system.dt * np.arange(u.shape[1]), u, INITIAL, squeeze=False)\n"
        "np.save('y.npy', np.array(r.outputs))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    y, _ = simulate(lfr, u, x0, method="reference")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy").T, y[0].numpy(), atol=1e-12)
    with pytest.raises(InputError, match="--force"):
        interop.to_control(lfr, tmp_path, name="tank")


def test_every_size_can_be_written(tmp_path):
    for i, sizes in enumerate(SIZES):
        lfr = random_lfr(sizes, acyclic=False)
        assert interop.to_control(lfr, tmp_path / str(i), x0=start(lfr)).agreement.error <= 1e-12


def test_a_wrong_system_is_not_handed_out(monkeypatch, tmp_path):
    monkeypatch.setattr(interop.portable, "phi", lambda names, v: np.asarray(v))
    with pytest.raises(EqnetsError, match="differs from the model"):
        interop.to_nlsys(random_lfr())


def test_a_missing_extra_is_named(monkeypatch):
    for library, name, extra in (("control", "to_nlsys", "control"), ("onnx", "to_onnx", "export")):
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.delitem(sys.modules, f"eqnets.interop.{library}", raising=False)
        monkeypatch.delitem(vars(interop), name, raising=False)
        with pytest.raises(ImportError, match=rf"{library}, which is not installed; .*eqnets\[{extra}\]"):
            getattr(interop, name)
    with pytest.raises(AttributeError, match="to_nlsys"):
        _ = interop.to_fortran
