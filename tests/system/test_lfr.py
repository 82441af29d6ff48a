"""The LFR: block conventions, worded errors, pytree manners, digests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils import _pytree as pytree

from eqnets.errors import InputError
from eqnets.system.lfr import BLOCKS, LFR
from eqnets.system.simulate import simulate


def test_sizes_and_omitted_blocks(shapes, random_lfr):
    lfr = random_lfr()
    assert (lfr.nx, lfr.nv, lfr.nu, lfr.ny) == (2, 3, 4, 5)
    assert {name: tuple(block.shape) for name, block in lfr.blocks().items()} == shapes
    assert tuple(lfr.blocks()) == BLOCKS
    for name in BLOCKS:  # every block but D22 (which alone can tell nu and ny here) may be left out
        others = {n: b for n, b in lfr.blocks().items() if n != name}
        filled = getattr(LFR(**others), name)
        assert tuple(filled.shape) == shapes[name]
        assert not filled.any()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_wrong_shape_is_named(name, shapes, random_lfr):
    """A block that is too long on any axis, or transposed, is refused with both shapes in the message."""
    blocks = random_lfr().blocks()
    wrong = [(*shapes[name][:i], shapes[name][i] + 1, *shapes[name][i + 1 :]) for i in range(len(shapes[name]))]
    if len(set(shapes[name])) == 2:
        wrong.append(shapes[name][::-1])
    for shape in wrong:
        with pytest.raises(InputError, match=r"LFR block \w+ has shape \(.*\), but \(n\w.* is needed \(nx=") as error:
            LFR(**{**blocks, name: torch.zeros(shape, dtype=torch.float64)})
        if name not in ("A", "D11", "D22"):  # those three decide the sizes: the message names the block that disagrees
            assert f"LFR block {name} has shape {shape}" in str(error.value)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_wrong_number_of_axes_is_named(name, random_lfr):
    block = random_lfr().blocks()[name]
    with pytest.raises(InputError, match=rf"LFR block {name} has {block.ndim + 1} axes"):
        LFR(**{**random_lfr().blocks(), name: block[None]})


def test_other_bad_input(random_lfr):
    lfr = random_lfr()
    for fields, words in (
        ({"A": [[1, 2], [3]]}, "A is not a rectangular array"),
        ({"A": torch.eye(2, dtype=torch.int64)}, "A has dtype torch.int64"),
        ({"A": torch.eye(2)}, "share one dtype"),
        ({"dt": 0.0}, "dt must be a positive number"),
        ({"dt": float("inf")}, "dt must be a positive number"),
        ({"u_names": ("a", "b")}, "u_names has 2 entries, but the LFR has 4"),
        ({"y_units": ("V",) * 4}, "y_units has 4 entries, but the LFR has 5"),
        ({"activation": "reluu"}, "no activation 'reluu'"),
        ({"activation": ["relu", "tanh"]}, "2 neurons, not 3"),
    ):
        with pytest.raises(InputError, match=words):
            lfr.replace(**fields)
    with pytest.raises(InputError, match="number of inputs"):
        LFR(A=[[0.5]], C2=[[1.0]])
    with pytest.raises(InputError, match="number of outputs"):
        LFR(A=[[0.5]], B2=[[1.0]])
    with pytest.raises(InputError):
        LFR()


def test_lists_and_arrays():
    assert LFR(A=[[0.5]], D22=[[1]]).dtype == torch.float64
    assert LFR(D22=np.ones((2, 1), dtype=np.float32)).dtype == torch.float32
    assert LFR(D22=np.ones((2, 1), dtype=np.int32)).dtype == torch.float64
    static = LFR(D22=[[1.0, 2.0]])
    assert (static.nx, static.nv, static.nu, static.ny) == (0, 0, 2, 1)


def test_acyclic_means_strictly_lower(random_lfr):
    lfr = random_lfr()
    assert lfr.is_acyclic
    for i in range(3):
        for j in range(i, 3):
            D11 = lfr.D11.clone()
            D11[i, j] = 1e-300
            assert not lfr.replace(D11=D11).is_acyclic


def test_pytree_to_detach(random_lfr):
    lfr = random_lfr(u_names=list("abcd"), dt=None)
    doubled = pytree.tree_map(lambda block: 2 * block, lfr)
    assert isinstance(doubled, LFR)
    for name, block in lfr.blocks().items():
        torch.testing.assert_close(getattr(doubled, name), 2 * block, rtol=0, atol=0)
    assert (doubled.dt, doubled.u_names, doubled.activation) == (None, ("a", "b", "c", "d"), lfr.activation)

    leaves = pytree.tree_leaves(lfr)
    assert len(leaves) == len(BLOCKS)
    single = lfr.to(torch.float32)
    assert single.dtype == torch.float32 and all(b.dtype == torch.float32 for b in single.blocks().values())
    assert single.u_names == lfr.u_names and single.dt is None

    leaf = lfr.A.clone().requires_grad_()
    attached = lfr.replace(A=leaf)
    assert attached.A.requires_grad and not attached.detach().A.requires_grad
    (gradient,) = torch.autograd.grad((attached.A**2).sum(), leaf)
    torch.testing.assert_close(gradient, 2 * leaf.detach())


def test_frozen(random_lfr):
    with pytest.raises(AttributeError):
        random_lfr().A = torch.zeros(2, 2)


def test_digest_sees_every_entry(shapes, random_lfr):
    lfr = random_lfr()
    seen = {lfr.digest()}
    for name, shape in shapes.items():
        for index in np.ndindex(*shape):
            block = getattr(lfr, name).clone()
            block[index] = torch.nextafter(block[index], torch.tensor(torch.inf, dtype=torch.float64))  # one ulp
            seen.add(lfr.replace(**{name: block}).digest())
    assert len(seen) == 1 + sum(int(np.prod(shape)) for shape in shapes.values())


def test_digest_sees_meaning_and_not_labels(random_lfr):
    lfr = random_lfr()
    different = [
        lfr.replace(dt=0.2), lfr.replace(dt=None), lfr.replace(activation="relu"),
        lfr.replace(activation="leaky_relu(0.1)"), lfr.replace(activation="leaky_relu(0.2)"),
        lfr.replace(activation=["relu", "tanh", "tanh"]), lfr.replace(activation=["tanh", "relu", "tanh"]),
    ]  # fmt: skip
    assert len({lfr.digest(), *(other.digest() for other in different)}) == 1 + len(different)
    assert lfr.replace(u_names=list("abcd"), y_units=["V"] * 5).digest() == lfr.digest()
    assert random_lfr().digest() == lfr.digest()


def test_digest_is_of_the_value_not_the_dtype(random_lfr):
    single = random_lfr().to(torch.float32)
    assert single.digest() == single.to(torch.float64).digest()
    assert single.digest() != random_lfr().digest()  # rounding changed the value


def test_zero_sized_blocks_do_not_collide():
    """Shapes enter the digest: the same (empty or zero) numbers in another shape are another system."""
    digests = {
        LFR(A=torch.zeros(n, n), D11=torch.zeros(m, m), D22=torch.zeros(1, 1)).digest() for n, m in np.ndindex(3, 3)
    }
    assert len(digests) == 9


def test_the_equations(random_lfr):
    """x⁺, v, w, y as on the LFR's page, against entry-by-entry sums; a transposed or swapped block would differ."""
    lfr = random_lfr()
    x, u = torch.tensor([0.3, -0.7], dtype=torch.float64), torch.tensor([1.0, -0.4, 0.2, 0.6], dtype=torch.float64)

    def row(bias: str, i: int, *terms: tuple[str, list[float]]) -> float:
        return float(getattr(lfr, bias)[i]) + sum(
            float(getattr(lfr, block)[i, j]) * z for block, vector in terms for j, z in enumerate(vector)
        )

    xs, us, w = x.tolist(), u.tolist(), [0.0] * 3
    for i in range(3):
        w[i] = float(np.tanh(row("bv", i, ("C1", xs), ("D11", w), ("D12", us))))
    after = [row("bx", i, ("A", xs), ("B1", w), ("B2", us)) for i in range(2)]
    y = [row("by", i, ("C2", xs), ("D21", w), ("D22", us)) for i in range(5)]
    got_y, got_x = simulate(lfr, u[None, None], x)
    np.testing.assert_allclose(got_y[0, 0], y, rtol=1e-13)
    np.testing.assert_allclose(got_x[0], after, rtol=1e-13)
