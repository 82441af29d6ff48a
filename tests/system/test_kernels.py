"""Every kernel equals the reference: both ways, in both dtypes, for any activation, batch, memory and threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from eqnets.system.kernels import adjoint, build, codes, derivatives, equilibrium, fused, native, op, reference
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.plants import Pendulum
from eqnets.system.simulate import simulate

ACTIVATIONS = [
    "relu", "tanh", "leaky_relu(0.1)", "softplus", "sigmoid", "identity", "sine_defect", "hardtanh", "elu(0.7)",
    "softshrink(0.3)", "selu", "gelu", "silu", "mish",
]  # fmt: skip
KINDS = ["ren", "rnn", "linear", "static", "wide", "mixed", "pendulum", "full", "full wide"]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-4}


def system(kind, generator, activation="tanh"):
    """One LFR of each kind, float64; acyclic, or with a full D11."""
    if kind == "pendulum":
        return Pendulum(mass=1.0, length=0.5, gravity=9.81, damping=0.3, upright=False).lfr(0.01, method="euler")
    sizes = {"linear": (3, 0, 1, 2), "static": (0, 11, 2, 1), "wide": (21, 37, 2, 3), "full wide": (21, 37, 2, 3)}
    nx, nv, nu, ny = sizes.get(kind, (5, 18, 2, 3))

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    D11 = torch.tril(0.2 * draw(nv, nv), -1) if kind != "rnn" else torch.zeros(nv, nv, dtype=torch.float64)
    if kind.startswith("full"):
        D11 = 0.4 * draw(nv, nv) / nv**0.5
    names = ["relu", "tanh", "sine_defect", "softplus", "leaky_relu(0.3)", "sigmoid"]
    return LFR(
        A=0.4 * draw(nx, nx) / max(nx, 1) ** 0.5, B1=0.03 * draw(nx, nv), B2=draw(nx, nu), C1=0.2 * draw(nv, nx),
        C2=draw(ny, nx), D11=D11, D12=0.5 * draw(nv, nu), D21=draw(ny, nv), D22=draw(ny, nu), bx=draw(nx), bv=draw(nv),
        by=draw(ny), activation=[names[i % 6] for i in range(nv)] if kind == "mixed" else activation,
    )  # fmt: skip


def kernels(lfr):
    return [name for name, there in (
        ("c", native.available(lfr.activation, torch.float64, torch.device("cpu"))),
        ("numba", fused.available(lfr.activation, torch.float64, torch.device("cpu")) and lfr.is_acyclic),
        ("torch", True),
    ) if there]  # fmt: skip


def outcome(lfr, u, x0, run):
    """Outputs and all gradients of a loss that sees every output and the last state."""
    leaves = [value.clone().requires_grad_() for value in (u, x0, *lfr.blocks().values())]
    system = lfr.replace(**dict(zip(BLOCKS, leaves[2:], strict=True)))
    y, last = run(system, leaves[0], leaves[1])[:2]
    weights = torch.linspace(-1, 1, max(y.numel(), 1), dtype=u.dtype)[: y.numel()].reshape(y.shape)
    (y * weights + y.square()).sum().add(last.sum()).backward()
    return [y.detach(), last.detach(), *(torch.zeros_like(v) if v.grad is None else v.grad for v in leaves)]


def drawn(lfr, batch, time, generator, dtype=torch.float64):
    u = torch.randn(batch, time, lfr.nu, generator=generator, dtype=torch.float64)
    return u.to(dtype), torch.randn(batch, lfr.nx, generator=generator, dtype=torch.float64).to(dtype)


def close(mine, truth, dtype):
    for a, b in zip(mine, truth, strict=True):
        scale = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * (1 + scale))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_equals_the_reference(kind, dtype):
    generator = torch.Generator().manual_seed(1)
    for activation in ACTIVATIONS if kind in ("ren", "full") else ["tanh", "relu"]:
        lfr = system(kind, generator, activation).to(dtype)
        u, x0 = drawn(lfr, 3, 21, generator, dtype)
        limit = equilibrium.tolerance(dtype)
        rule = lfr.is_acyclic, limit
        truth = outcome(lfr, u, x0, lambda *given, rule=rule: reference.rollout(*given, *rule))
        for kernel in kernels(lfr):
            every = 8 if codes.needs_argument(lfr.activation) else 0
            settings = adjoint.Settings(lfr.activation, lfr.dt, limit, every, kernel)
            close(outcome(lfr, u, x0, lambda *given, s=settings: derivatives.rollout(*given, s)), truth, dtype)


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("every", [0, 1, 8, 100])
@pytest.mark.parametrize("kind", ["wide", "full wide"])
def test_lanes_and_memory_change_nothing(batch, every, kind):
    generator = torch.Generator().manual_seed(2)
    lfr = system(kind, generator, "tanh")
    u, x0 = drawn(lfr, batch, 37, generator)
    if not batch:
        u, x0 = u[:0], x0[:0]
    plain = adjoint.Settings(lfr.activation, lfr.dt, 1e-12, 0, "torch")
    truth = outcome(lfr, u, x0, lambda *given: derivatives.rollout(*given, plain))
    for kernel in kernels(lfr):
        settings = plain._replace(every=every, kernel=kernel)
        mine = outcome(lfr, u, x0, lambda *given, s=settings: derivatives.rollout(*given, s))
        if batch:
            close(mine, truth, torch.float64)
        else:
            assert mine[0].shape == truth[0].shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_full_coupling_reports_what_it_took(dtype):
    generator = torch.Generator().manual_seed(10)
    lfr = system("full wide", generator, "softplus").to(dtype)
    u, x0 = drawn(lfr, 5, 30, generator, dtype)
    for kernel in kernels(lfr):
        settings = adjoint.Settings(lfr.activation, lfr.dt, equilibrium.tolerance(dtype), -1, kernel)
        _, _, _, residual, steps = derivatives.rollout(lfr, u, x0, settings)
        assert residual.shape == (5,) and 1 <= int(steps) < 20
        assert bool((residual <= 1000 * settings.tolerance).all())


def test_where_newton_cycles_in_c_the_torch_loops_take_over():
    """A model of test_full_coupling: well posed, and Newton's method alone fails on it."""
    generator = torch.Generator().manual_seed(35)
    V, S = (torch.randn(40, 40, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = torch.exp(2 * torch.randn(40, generator=generator, dtype=torch.float64))
    N = 0.09 * V.T @ V + 0.01 * torch.eye(40, dtype=torch.float64) + 30 * (S - S.T)
    D11 = torch.eye(40, dtype=torch.float64) - N / scale[:, None]
    identity, nothing = torch.eye(40, dtype=torch.float64), torch.zeros(40, 40, dtype=torch.float64)
    lfr = LFR(D11=D11, D12=identity, D21=identity, D22=nothing, activation="relu")
    u = 10 * torch.randn(64, 1, 40, generator=generator, dtype=torch.float64)
    if "c" not in kernels(lfr):
        pytest.skip(f"the c kernel is not available here: {build.library(True)[1]}")
    blocks, x0 = list(lfr.blocks().values()), u.new_zeros(64, 0)
    assert native.forward(lfr.activation, blocks, (True, False), -1, u, x0, u.new_zeros(0), 1e-12) is None
    y, _, info = simulate(lfr, u, return_info=True)
    assert info.kernel == "c" and info.status == "solved"
    torch.testing.assert_close(y, torch.relu(y @ D11.T + u), rtol=1e-9, atol=1e-9)


def test_no_samples_and_no_gradients():
    generator = torch.Generator().manual_seed(3)
    lfr = system("ren", generator)
    x0 = torch.randn(2, lfr.nx, generator=generator, dtype=torch.float64)
    for kernel in kernels(lfr):
        for every in (-1, 0, 8):
            settings = adjoint.Settings(lfr.activation, lfr.dt, 1e-12, every, kernel)
            y, last, *_ = derivatives.rollout(lfr, torch.zeros(2, 0, lfr.nu, dtype=torch.float64), x0, settings)
            assert y.shape == (2, 0, lfr.ny)
            torch.testing.assert_close(last, x0)
            assert last.data_ptr() != x0.data_ptr()


@pytest.mark.parametrize("kernel", ["c", "numba"])
def test_threads_share_the_lanes(kernel):
    generator = torch.Generator().manual_seed(4)
    lfr = system("wide", generator)
    if kernel not in kernels(lfr):
        pytest.skip(f"the {kernel} kernel is not available here: {build.library(True)[1]}")
    u, x0 = drawn(lfr, 33, 60, generator)
    settings = adjoint.Settings(lfr.activation, lfr.dt, 1e-12, 0, kernel)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(outcome(lfr, u, x0, lambda *given: derivatives.rollout(*given, settings)))
    finally:
        torch.set_num_threads(before)
    close(found[1], found[0], torch.float64)


def test_threads_of_our_own_where_torch_has_none_to_lend(monkeypatch):
    generator = torch.Generator().manual_seed(4)
    lfr = system("wide", generator)
    if "c" not in kernels(lfr):
        pytest.skip(f"the C kernel is not available here: {build.library(True)[1]}")
    u, x0 = drawn(lfr, 33, 60, generator)
    settings = adjoint.Settings(lfr.activation, lfr.dt, 1e-12, 0, "c")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        lent = outcome(lfr, u, x0, lambda *given: derivatives.rollout(*given, settings))
        monkeypatch.setattr(native.native, "team", tuple)
        own = outcome(lfr, u, x0, lambda *given: derivatives.rollout(*given, settings))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(lent, own, strict=True):
        assert torch.equal(a, b)


FORK = """
import os, torch, eqnets as eq
torch.set_num_threads(2)
lfr = eq.ContractingREN(1, 8, 16, 1, generator=torch.Generator().manual_seed(0)).explicit().detach()
u = torch.randn(64, 200, 1, generator=torch.Generator().manual_seed(0), dtype=lfr.dtype)
y = eq.simulate(lfr, u)[0]
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(eq.simulate(lfr, u)[0], y) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_rolls_out_too():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=60)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_infinities_and_nan_keep_their_meaning(dtype):
    lfr = system("ren", torch.Generator().manual_seed(5), "relu").to(dtype)
    u = torch.zeros(3, 4, lfr.nu, dtype=dtype)
    u[0, 1], u[1, 1] = float("nan"), -1e30
    for kernel in kernels(lfr):
        settings = adjoint.Settings(lfr.activation, lfr.dt, 1e-6, 0, kernel)
        y = derivatives.rollout(lfr, u, torch.zeros(3, lfr.nx, dtype=dtype), settings)[0]
        assert torch.isnan(y[0, 2:]).all()
        assert torch.isfinite(y[1:]).all()


def operands(lfr, generator, every=0, kernel=None):
    u, x0 = drawn(lfr, 2, 5, generator)
    kernel = kernel or kernels(lfr)[0]
    values = [v.clone().requires_grad_() for v in (u, x0, *lfr.blocks().values())]
    return values[0], values[1], values[2:], lfr.activation.name, lfr.dt, 1e-12, every, kernel


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_operator_keeps_torchs_rules():
    lfr = system("ren", torch.Generator().manual_seed(6))
    for kernel in kernels(lfr):
        torch.library.opcheck(op._rollout, operands(lfr, torch.Generator().manual_seed(7), 0, kernel))


@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.parametrize("acyclic", [True, False])
def test_torch_compile_takes_it_whole(acyclic):
    generator = torch.Generator().manual_seed(8)
    lfr = system("ren", generator)
    if not acyclic:
        lfr = lfr.replace(D11=0.02 * torch.randn(lfr.nv, lfr.nv, generator=generator, dtype=torch.float64))
    u, x0 = drawn(lfr, 3, 9, generator)

    def run(u, x0, *blocks):
        return simulate(lfr.replace(**dict(zip(BLOCKS, blocks, strict=True))), u, x0)

    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    mine = outcome(lfr, u, x0, lambda system, u, x0: compiled(u, x0, *system.blocks().values()))
    close(mine, outcome(lfr, u, x0, lambda *given: simulate(*given)), torch.float64)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode
def test_vmap_over_inputs_and_over_systems():
    generator = torch.Generator().manual_seed(9)
    lfr = system("ren", generator)
    u, x0 = drawn(lfr, 4 * 3, 6, generator)
    u, x0 = u.unflatten(0, (4, 3)), x0.unflatten(0, (4, 3))
    y, last = torch.vmap(lambda u, x0: simulate(lfr, u, x0))(u, x0)
    each = [simulate(lfr, a, b) for a, b in zip(u, x0, strict=True)]
    torch.testing.assert_close(y, torch.stack([a for a, _ in each]))
    torch.testing.assert_close(last, torch.stack([b for _, b in each]))
    gains = torch.linspace(0.5, 1.0, 4, dtype=torch.float64)
    y = torch.vmap(lambda g: simulate(lfr.replace(C2=g * lfr.C2), u[0], x0[0])[0])(gains)
    each = [simulate(lfr.replace(C2=g * lfr.C2), u[0], x0[0])[0] for g in gains]
    torch.testing.assert_close(y, torch.stack(each))
    gradient = torch.func.grad(lambda x0: simulate(lfr, u[0], x0)[0].square().sum())(x0[0])
    truth = torch.autograd.functional.jacobian(lambda x0: simulate(lfr, u[0], x0)[0].square().sum(), x0[0])
    torch.testing.assert_close(gradient, truth)


def test_a_compiler_that_fails_costs_time_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for change, words in (
        ({"CC": "false"}, "the C compiler false failed"), ({"CC": "no-such-compiler"}, "no-such-compiler"),
        ({build.SWITCH: "1"}, "unset it"), ({"PATH": str(tmp_path), "CC": ""}, "install gcc"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            for name, value in change.items():
                patch.setenv(name, value)
            build.library.cache_clear()
            library, why = build.library(False)
            assert library is None and words in why
    build.library.cache_clear()
    assert not list(tmp_path.rglob("*.so"))


def test_it_is_built_once(monkeypatch, tmp_path):
    if build.library(False)[0] is None:
        pytest.skip(f"no C kernel here: {build.library(False)[1]}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build.library.cache_clear()
    try:
        _, path = build.library(False)
        assert path.startswith(str(tmp_path))
        monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("it was built again"))
        build.library.cache_clear()
        assert build.library(False)[1] == path
    finally:
        build.library.cache_clear()
