"""The hand-written adjoint of the map θ → LFR is autograd's, to second order, under transforms, in both dtypes."""

from __future__ import annotations

import pytest
import torch

import eqnets as eq
from eqnets.models import native
from eqnets.models.direct_adjoint import explicit, plain

# nx, nv, nu, rows of the supply's terms, full D11
CASES = [(2, 3, 2, 0, False), (3, 2, 1, 2, True), (0, 3, 2, 1, False), (2, 0, 1, 0, False), (0, 2, 1, 0, True)]


def free(case, generator, dtype=torch.float64):
    nx, nv, nu, extra, full = case

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    X, terms = draw(2 * nx + nv, 2 * nx + nv), [draw(extra, 2 * nx + nv).double()] if extra else []
    eps = torch.tensor(0.1, dtype=dtype)
    return [X, *terms, draw(nx, nx), draw(nx, nu), draw(nv, nu), *([draw(nv, nv + 1)] if full else []), eps]


def arguments(values, case):
    """With None for what this case has not."""
    X, *rest = values
    terms = [rest.pop(0)] if case[3] else [None]
    return X, *terms, *rest[:3], *(rest[3:4] if case[4] else [None]), rest[-1]


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_plain_map_with_exact_derivatives(case):
    values = [v.requires_grad_() for v in free(case, torch.Generator().manual_seed(0))]

    def run(*values):
        return explicit(*arguments(values, case), 0.9, torch.float64)

    for mine, truth in zip(run(*values), plain(*arguments(values, case), 0.9), strict=True):
        torch.testing.assert_close(mine, truth)
    assert torch.autograd.gradcheck(run, values)
    assert torch.autograd.gradgradcheck(run, values)


@pytest.mark.parametrize("case", CASES)
def test_float32_parameters_give_the_float64_system_rounded_once(case):
    values = [v.requires_grad_() for v in free(case, torch.Generator().manual_seed(1), torch.float32)]
    exact = plain(*arguments(values, case), 0.9)
    mine = explicit(*arguments(values, case), 0.9, torch.float32)
    for block, truth in zip(mine[:6], exact[:6], strict=True):
        torch.testing.assert_close(block, truth.float(), rtol=2e-7, atol=1e-7 * float(truth.detach().abs().sum() + 1))
    weights = [torch.randn(b.shape, generator=torch.Generator().manual_seed(2)) for b in mine[:6]]
    grads = [
        torch.autograd.grad(sum((b * w).sum() for b, w in zip(o, weights, strict=False)), values, allow_unused=True)
        for o in (mine, exact)
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * float(b.abs().max()) if b.numel() else 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [*CASES, (37, 41, 3, 5, False), (20, 70, 2, 3, True)])
def test_the_c_map_is_that_of_torch(case, dtype, monkeypatch):
    if native.library(True)[0] is None:
        pytest.skip("no C compiler on this machine")
    values = [v.requires_grad_() for v in free(case, torch.Generator().manual_seed(4), dtype)]
    values[-1].requires_grad_(case[0] != 37)  # ε is a buffer in use

    def run():
        blocks = explicit(*arguments(values, case), 0.9, dtype)
        used = blocks[::2] if case[0] == 3 else blocks  # gradients that are missing are zero
        weights = [torch.randn(b.shape, generator=torch.Generator().manual_seed(5), dtype=b.dtype) for b in used]
        loss = sum((b * w).sum() for b, w in zip(used, weights, strict=True))
        return *blocks, *torch.autograd.grad(loss, [v for v in values if v.requires_grad])

    mine = run()
    monkeypatch.setattr(native, "library", lambda double: (None, ""))
    close = {"rtol": 1e-9, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-4}
    for a, b in zip(mine, run(), strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, **close)


def test_what_is_not_finite_is_not_finite_in_both(monkeypatch):
    values = free(CASES[0], torch.Generator().manual_seed(6))
    values[0][0, 0] = torch.nan
    mine = explicit(*arguments(values, CASES[0]), 0.9, torch.float64)
    monkeypatch.setattr(native, "library", lambda double: (None, ""))
    for a, b in zip(mine, explicit(*arguments(values, CASES[0]), 0.9, torch.float64), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode
@pytest.mark.parametrize("case", CASES[:2])
def test_transforms(case):
    values = tuple(free(case, torch.Generator().manual_seed(3)))

    def run(*values):
        return torch.cat([block.flatten() for block in explicit(*arguments(values, case), 0.9, torch.float64)])

    def truth(*values):
        return torch.cat([block.flatten() for block in plain(*arguments(values, case), 0.9)])

    def close(found, expected):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)

    argnums = tuple(range(len(values)))
    jacobian = torch.autograd.functional.jacobian(truth, values)
    close(torch.func.jacrev(run, argnums)(*values), jacobian)
    close(torch.func.jacfwd(run, argnums)(*values), jacobian)
    with pytest.raises(eq.InputError, match="cannot be batched"):
        torch.autograd.functional.jacobian(run, values, vectorize=True)
    close(torch.autograd.functional.jacobian(run, values, vectorize=True, strategy="forward-mode"), jacobian)
    hessian = torch.autograd.functional.hessian(lambda *v: truth(*v).square().sum(), values)
    close(torch.func.hessian(lambda *v: run(*v).square().sum(), argnums)(*values), hessian)
    many = [torch.stack([v, 1.1 * v]) for v in values]
    close(torch.vmap(run)(*many)[1], truth(*(v[1] for v in many)))
