"""The rollout: every kernel equals the written-out equations, and its gradients are exact to second order."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.errors import InputError, NotConverged
from eqnets.system.kernels import adjoint
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.lti import LTI
from eqnets.system.nonlinearity import get
from eqnets.system.simulate import linearise, simulate

SIZES = [(2, 3, 4, 5), (5, 4, 3, 2), (0, 3, 2, 1), (3, 0, 1, 2), (0, 0, 2, 3), (1, 11, 1, 1)]
ACTIVATIONS = ["relu", "tanh", "leaky_relu(0.1)", "softplus", "sigmoid", "identity", "sine_defect"]
METHODS = ["auto", "torch", "reference"]


def random_lfr(sizes, generator, acyclic=True, activation="tanh", dtype=torch.float64):
    nx, nv, nu, ny = sizes

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    D11 = 0.4 * draw(nv, nv) / max(nv, 1) ** 0.5
    if acyclic:
        D11 = torch.tril(D11, -1)
    return LFR(
        A=0.4 * draw(nx, nx) / max(nx, 1) ** 0.5, B1=0.2 * draw(nx, nv), B2=draw(nx, nu), C1=0.3 * draw(nv, nx),
        C2=draw(ny, nx), D11=D11, D12=draw(nv, nu), D21=draw(ny, nv), D22=draw(ny, nu),
        bx=draw(nx), bv=draw(nv), by=draw(ny), activation=activation,
    )  # fmt: skip


def by_hand(lfr, u, x):
    """The four equations, sample by sample and neuron by neuron."""
    outputs = []
    for t in range(u.shape[1]):
        c = x @ lfr.C1.T + u[:, t] @ lfr.D12.T + lfr.bv
        w = torch.zeros_like(c)
        for _ in range(max(1, 400 if not lfr.is_acyclic else lfr.nv)):
            w = lfr.activation.value(c + w @ lfr.D11.T)
        outputs.append(x @ lfr.C2.T + w @ lfr.D21.T + u[:, t] @ lfr.D22.T + lfr.by)
        x = x @ lfr.A.T + w @ lfr.B1.T + u[:, t] @ lfr.B2.T + lfr.bx
    return torch.stack(outputs, 1), x


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_every_kernel_is_the_written_out_equations(sizes, acyclic, method):
    generator = torch.Generator().manual_seed(1)
    for activation in ACTIVATIONS:
        lfr = random_lfr(sizes, generator, acyclic, activation)
        u = torch.randn(3, 6, sizes[2], generator=generator, dtype=torch.float64)
        x0 = torch.randn(3, sizes[0], generator=generator, dtype=torch.float64)
        y, last = simulate(lfr, u, x0, method=method)
        y_hand, last_hand = by_hand(lfr, u, x0)
        torch.testing.assert_close(y, y_hand, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(last, last_hand, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("acyclic", [True, False])
@pytest.mark.parametrize("sizes", [(2, 3, 4, 5), (0, 3, 2, 1), (3, 0, 1, 2)])
def test_gradients_and_gradients_of_gradients(method, acyclic, sizes):
    generator = torch.Generator().manual_seed(2)
    for activation in ("tanh", "softplus"):
        lfr = random_lfr(sizes, generator, acyclic, activation)
        u = torch.randn(2, 3, sizes[2], generator=generator, dtype=torch.float64)
        x0 = torch.randn(2, sizes[0], generator=generator, dtype=torch.float64)
        mask = torch.tril(torch.ones(sizes[1], sizes[1], dtype=torch.float64), -1) if acyclic else 1.0

        def run(u, x0, *values, mask=mask, activation=activation):
            blocks = dict(zip(BLOCKS, values, strict=True))
            blocks["D11"] = blocks["D11"] * mask
            return simulate(LFR(**blocks, activation=activation), u, x0, method=method)

        inputs = [value.clone().requires_grad_() for value in (u, x0, *lfr.blocks().values())]
        assert torch.autograd.gradcheck(run, inputs)
        if activation == "tanh":
            assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_compiled_loops_equal_the_torch_loops(activation):
    if adjoint.choose(get(activation), torch.float64, torch.device("cpu")) == "torch":
        pytest.skip("neither a C compiler nor numba (the extra `fast`) is here, so there are no compiled loops")
    generator = torch.Generator().manual_seed(3)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-4)):
        lfr = random_lfr((6, 17, 2, 3), generator, True, activation, dtype)
        lfr = lfr.replace(B1=0.1 * lfr.B1, D11=0.5 * lfr.D11)  # contracting for slopes up to 2 as well
        u = torch.randn(19, 40, 2, generator=generator, dtype=torch.float64).to(dtype)
        gradients = {}
        for method in ("fused", "torch"):
            leaves = {name: block.clone().requires_grad_() for name, block in lfr.blocks().items()}
            masked = {**leaves, "D11": torch.tril(leaves["D11"], -1)}
            y, _, info = simulate(LFR(**masked, activation=activation), u, method=method, return_info=True)
            assert info.method == method
            y.square().mean().backward()
            gradients[method] = [y.detach(), *(leaf.grad for leaf in leaves.values())]
        for compiled, plain in zip(gradients["fused"], gradients["torch"], strict=True):
            torch.testing.assert_close(compiled, plain, rtol=tolerance, atol=tolerance * float(plain.abs().max() + 1))


def test_nan_in_one_sample_stays_in_that_sample():
    lfr = random_lfr((2, 5, 1, 1), torch.Generator().manual_seed(4))
    u = torch.zeros(3, 8, 1, dtype=torch.float64)
    clean, _ = simulate(lfr, u)
    u[1, 3] = float("nan")
    for method in METHODS:
        y, _ = simulate(lfr, u, method=method)
        torch.testing.assert_close(y[[0, 2]], clean[[0, 2]])
        assert torch.isnan(y[1, 4:]).all()


def test_a_record_can_be_continued_from_its_last_state():
    lfr = random_lfr((3, 4, 2, 2), torch.Generator().manual_seed(5))
    u = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    whole, last = simulate(lfr, u)
    first, middle = simulate(lfr, u[:, :7])
    second, end = simulate(lfr, u[:, 7:], middle)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(end, last)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode
def test_transforms_of_the_reference():
    generator = torch.Generator().manual_seed(7)
    lfr = random_lfr((2, 3, 1, 1), generator)
    u = torch.randn(1, 4, 1, generator=generator, dtype=torch.float64)

    def last_output(x0):
        return simulate(lfr, u, x0[None], method="reference")[0][0, -1, 0]

    x0 = torch.randn(2, generator=generator, dtype=torch.float64)
    hessian = torch.func.hessian(last_output)(x0)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(last_output, x0))
    many = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(torch.vmap(last_output)(many), torch.stack([last_output(x) for x in many]))


def test_an_ill_posed_model_is_refused_in_words():
    lfr = LFR(D11=[[3.0]], D12=[[1.0]], D21=[[1.0]], D22=[[0.0]], bv=[1.0], activation="relu")
    with pytest.raises(NotConverged, match="well posed") as caught:
        simulate(lfr, torch.ones(2, 1, 1, dtype=torch.float64))  # w = relu(3 w + 2) has no solution
    assert caught.value.status.shape == (2,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"u": torch.zeros(5, 2, dtype=torch.float64)}, "batch, time, nu=2"),
        ({"u": torch.zeros(1, 5, 3, dtype=torch.float64)}, "batch, time, nu=2"),
        ({"u": torch.zeros(1, 5, 2)}, "convert one"),
        ({"x0": torch.zeros(2, 3, dtype=torch.float64)}, r"x0 must be a tensor \(batch=1, nx=3\)"),
        ({"x0": [0.0, 0.0, 0.0]}, "x0 must be a tensor .* list"),
        (
            {
                "u": torch.zeros(1, 5, 2).bfloat16(),
                "lfr": LFR(A=[[0.5]], B2=[[1.0, 1.0]], C2=[[1.0]], D22=[[0.0, 0.0]]).to(torch.bfloat16),
            },
            "float32 or float64; got torch.bfloat16",
        ),
        ({"method": "fastest"}, "choose one of"),
        ({"atol": 0.0}, "atol must be a positive number"),
        ({"atol": float("nan")}, "atol must be a positive number"),
        ({"atol": "tight"}, "atol must be a positive number"),
        ({"lfr": LTI([[0.5]], [[1.0]], [[1.0]], [[0.0]])}, "takes an LFR.*got LTI"),
        ({"lfr": torch.nn.LSTM(2, 3)}, "takes an LFR.*got LSTM"),
        ({"lfr": LFR(A=[[-1.0]], B2=[[1.0]], C2=[[1.0]], D22=[[0.0]], dt=None)}, "discretise"),
    ],
)
def test_bad_input_is_one_worded_error(change, words):
    arguments = {
        "lfr": random_lfr((3, 4, 2, 2), torch.Generator().manual_seed(8)),
        "u": torch.zeros(1, 5, 2, dtype=torch.float64),
    }
    with pytest.raises(InputError, match=words):
        simulate(**{**arguments, **change})


def test_linearisation_is_the_derivative_of_one_step():
    generator = torch.Generator().manual_seed(9)
    for acyclic in (True, False):
        lfr = random_lfr((2, 3, 4, 5), generator, acyclic)
        x, u = torch.randn(2, generator=generator).double(), torch.randn(4, generator=generator).double()

        def step(x, u, lfr=lfr):
            y, last = simulate(lfr, u[None, None], x[None], method="reference")
            return last[0], y[0, 0]

        (A, B), (C, D) = torch.autograd.functional.jacobian(step, (x, u))
        found = linearise(lfr, x, u)
        assert isinstance(found, LTI)
        for mine, truth in zip((found.A, found.B, found.C, found.D), (A, B, C, D), strict=True):
            torch.testing.assert_close(mine, truth, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("acyclic", [True, False])
def test_autocast_changes_nothing_whichever_kernel_runs(acyclic):
    generator = torch.Generator().manual_seed(9)
    ren = eq.ContractingREN(2, 3, 4, 1, activation="tanh", acyclic=acyclic, generator=generator)
    lfr, u = ren.explicit().detach().to(torch.float32), torch.randn(2, 6, 2, generator=generator)
    for method in ("auto", "torch", "reference"):
        expected = simulate(lfr, u, method=method)
        with torch.autocast("cpu", torch.bfloat16):
            found = simulate(lfr, u, method=method)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        y, x_last = ren(u.bfloat16(), torch.zeros(2, 3, dtype=torch.bfloat16))  # as a linear layer before it gives it
    assert y.dtype == x_last.dtype == torch.float32
    torch.testing.assert_close(y, ren(u.bfloat16().float())[0], rtol=0, atol=0)


@pytest.mark.parametrize("which", ["u", "x0", "C2", "D11"])
def test_a_tensor_that_is_negative_by_a_bit_alone(which):
    """What torch.imag of a conjugate is: its memory holds the other sign."""
    generator = torch.Generator().manual_seed(11)
    lfr = random_lfr((3, 4, 2, 2), generator)
    u = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    tensors = {"u": u, "x0": torch.ones(2, 3, dtype=torch.float64), "C2": lfr.C2, "D11": lfr.D11}

    def run(value):
        t = {**tensors, which: value}
        return simulate(lfr.replace(C2=t["C2"], D11=t["D11"]), t["u"], t["x0"])

    torch.testing.assert_close(run(torch._neg_view(tensors[which])), run(-tensors[which]))
