"""The rollout under every transform of torch.func, against plain reverse mode."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import eqnets as eq
from eqnets import LFR, simulate

F64 = torch.float64
# torch's own forward mode
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
METHODS = ("auto", "torch", "reference")


@pytest.fixture(params=[True, False], ids=["acyclic", "full"])
def case(request) -> tuple[LFR, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ren = eq.ContractingREN(2, 3, 4, 1, activation="tanh", acyclic=request.param, generator=generator, dtype=F64)
    return ren.explicit().detach(), torch.randn(2, 3, 2, generator=generator, dtype=F64)


def close(found, truth) -> None:
    torch.testing.assert_close(found, truth, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_with_respect_to_the_input(case, method):
    lfr, u = case

    def y(u):
        return simulate(lfr, u, method=method)[0]

    def loss(u):
        return y(u).sin().sum()

    J, H = torch.autograd.functional.jacobian(y, u), torch.autograd.functional.hessian(loss, u)
    g = torch.autograd.functional.jacobian(loss, u)
    assert float(J.abs().max()) > 0.1 and float(H.abs().max()) > 1e-3
    close(jacrev(y)(u), J)
    close(jacfwd(y)(u), J)
    close(vjp(y, u)[1](torch.ones(2, 3, 1, dtype=F64))[0], J.sum((0, 1, 2)))
    close(grad(loss)(u), g)
    for twice in (hessian, lambda f: jacrev(jacrev(f)), lambda f: jacrev(jacfwd(f)), lambda f: jacfwd(jacfwd(f))):
        close(twice(loss)(u), H)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(y(forward_ad.make_dual(u, torch.ones_like(u)))).tangent
    close(tangent, J.sum((3, 4, 5)))


@pytest.mark.parametrize("method", METHODS)
def test_vmap_over_and_under_derivatives(case, method):
    lfr, u = case

    def y(one):
        return simulate(lfr, one[None], method=method)[0][0]

    def loss(one):
        return y(one).sin().sum()

    each = [torch.autograd.functional.jacobian(y, one) for one in u]
    close(vmap(jacrev(y))(u), torch.stack(each))
    close(vmap(jacfwd(y))(u), torch.stack(each))
    close(vmap(hessian(loss))(u), torch.stack([torch.autograd.functional.hessian(loss, one) for one in u]))
    truth = torch.autograd.functional.jacobian(lambda u: simulate(lfr, u)[0].sin().sum(), u)
    close(grad(lambda u: vmap(y)(u).sin().sum())(u), truth)
    leaf = u.clone().requires_grad_()  # plain reverse mode over vmap, which hides that a gradient is wanted
    close(torch.autograd.grad(vmap(y)(leaf).sin().sum(), leaf)[0], truth)


@pytest.mark.parametrize("method", METHODS)
def test_derivatives_with_respect_to_the_blocks_and_over_an_ensemble(case, method):
    lfr, u = case

    def y(blocks):
        return simulate(lfr.replace(**blocks), u, method=method)[0]

    def loss(blocks):
        return y(blocks).sin().sum()

    blocks = lfr.blocks()
    leaves = {name: block.clone().requires_grad_() for name, block in blocks.items()}
    rows = [torch.autograd.grad(one, list(leaves.values()), retain_graph=True) for one in y(leaves).flatten()]
    truth = {name: torch.stack(part).unflatten(0, (2, 3, 1)) for name, *part in zip(leaves, *rows, strict=True)}
    close(jacrev(y)(blocks), truth)
    close(jacfwd(y)(blocks), truth)
    along = {
        name: torch.ones_like(block).tril(-1) if name == "D11" else torch.ones_like(block)
        for name, block in blocks.items()
    }
    curved = jvp(lambda b: jvp(loss, (b,), (along,))[1], (blocks,), (along,))[1]
    t = torch.zeros((), dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss({n: b + t * along[n] for n, b in blocks.items()}), t, create_graph=True)
    close(curved, torch.autograd.grad(slope, t)[0])
    many = {name: torch.stack([block, 0.9 * block]) for name, block in blocks.items()}
    single = [{name: block[i] for name, block in many.items()} for i in range(2)]
    close(vmap(y)(many), torch.stack([y(one) for one in single]))
    each = [grad(loss)(one) for one in single]
    close(vmap(grad(loss))(many), {name: torch.stack([one[name] for one in each]) for name in blocks})


def test_third_order_is_that_of_the_reference(case):
    lfr, u = case

    def third(method):
        leaf = u.clone().requires_grad_()
        value = simulate(lfr, leaf, method=method)[0].sin().sum()
        for _ in range(3):
            (g,) = torch.autograd.grad(value, leaf, create_graph=True)
            value = g.sin().sum()
        return g

    close(third("auto"), third("reference"))
