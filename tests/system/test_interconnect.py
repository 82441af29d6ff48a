"""A connection is its parts wired by hand: every block, in discrete and continuous time, algebraic loops included."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import eqnets as eq
from eqnets.system.connect import append, connect
from eqnets.system.lfr import BLOCKS

F64 = torch.float64
ACTIVATIONS = ("relu", "tanh", "mixed")
TIMES = (0.1, None)
Wires = Callable[[list[Tensor], Tensor], list[Tensor]]


def system(seed: int, nu: int, nx: int, nv: int, ny: int, activation: str = "tanh", dt: float | None = 0.1) -> eq.LFR:
    """Every block full and small, so that wiring by hand can iterate the algebraic loop."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"A": (nx, nx), "B1": (nx, nv), "B2": (nx, nu), "C1": (nv, nx), "D11": (nv, nv), "D12": (nv, nu),
              "C2": (ny, nx), "D21": (ny, nv), "D22": (ny, nu), "bx": (nx,), "bv": (nv,), "by": (ny,)}  # fmt: skip
    names = ["relu", "tanh", "sigmoid", "leaky_relu(0.1)", "softplus"]
    return eq.LFR(
        **{name: 0.2 * torch.randn(shape, generator=g, dtype=F64) for name, shape in shapes.items()},
        activation=[names[i % len(names)] for i in range(nv)] if activation == "mixed" else activation, dt=dt,
    )  # fmt: skip


def by_hand(parts: list[eq.LFR], wires: Wires, x: list[Tensor], r: Tensor) -> tuple[Tensor, list[Tensor]]:
    """All parts at one instant: (x⁺ or ẋ, every y). Neurons and inputs are iterated until all equations agree."""
    y = [torch.zeros(part.ny, dtype=F64) for part in parts]
    w = [torch.zeros(part.nv, dtype=F64) for part in parts]
    for _ in range(500):
        u, before = wires(y, r), torch.cat([*y, *w])
        w = [p.activation(p.C1 @ x_ + p.D11 @ w_ + p.D12 @ u_ + p.bv) if p.nv else w_
             for p, x_, w_, u_ in zip(parts, x, w, u, strict=True)]  # fmt: skip
        y = [p.C2 @ x_ + p.D21 @ w_ + p.D22 @ u_ + p.by for p, x_, w_, u_ in zip(parts, x, w, u, strict=True)]
        if float((torch.cat([*y, *w]) - before).abs().max()) < 1e-15:
            break
    after = [p.A @ x_ + p.B1 @ w_ + p.B2 @ u_ + p.bx for p, x_, w_, u_ in zip(parts, x, w, wires(y, r), strict=True)]
    return torch.cat(after), y


def step(whole: eq.LFR, x: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """(x⁺ or ẋ, z) of the connection, by the simulator."""
    z, after = eq.simulate(whole.replace(dt=1.0), r[None, None], x[None])
    return after[0], z[0, 0]


def assert_equal_to_hand(whole, parts, wires, output, nr: int) -> None:  # type: ignore[no-untyped-def]
    """At random states and outer inputs, and for discrete time along a trajectory."""
    assert whole.nx == sum(p.nx for p in parts) and whole.nv == sum(p.nv for p in parts)
    g = torch.Generator().manual_seed(7)
    x = torch.randn(whole.nx, generator=g, dtype=F64)
    for _ in range(6):
        r = torch.randn(nr, generator=g, dtype=F64)
        after, y = by_hand(parts, wires, list(x.split([p.nx for p in parts])), r)
        found, z = step(whole, x, r)
        torch.testing.assert_close(found, after, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(z, output(y, r), rtol=1e-10, atol=1e-11)
        x = after if whole.dt is not None else torch.randn(whole.nx, generator=g, dtype=F64)


@pytest.mark.parametrize("dt", TIMES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_feedback_is_the_loop_wired_by_hand(activation: str, dt: float | None) -> None:
    for sign in (-1, 1):
        plant, controller = system(1, 3, 2, 4, 2, activation, dt), system(2, 2, 3, 2, 3, "tanh", dt)
        loop = eq.feedback(plant, controller, sign)
        assert_equal_to_hand(
            loop, [plant, controller], lambda y, r, s=sign: [r + s * y[1], y[0]], lambda y, r: y[0], nr=3
        )


@pytest.mark.parametrize("dt", TIMES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_series_and_parallel_are_wired_by_hand(activation: str, dt: float | None) -> None:
    a, b, c = system(1, 3, 2, 4, 2, activation, dt), system(2, 2, 0, 3, 4, "relu", dt), system(3, 4, 1, 0, 1, dt=dt)
    assert_equal_to_hand(eq.series(a, b, c), [a, b, c], lambda y, r: [r, y[0], y[1]], lambda y, r: y[2], nr=3)
    d, e = system(4, 3, 1, 2, 2, activation, dt), system(5, 3, 2, 0, 2, dt=dt)
    assert_equal_to_hand(
        eq.parallel(a, d, e, signs=(1, -1, 1)), [a, d, e], lambda y, r: [r, r, r],
        lambda y, r: y[0] - y[1] + y[2], nr=3,
    )  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_named_wires_are_the_wires(activation: str) -> None:
    plant = system(1, 2, 2, 4, 2, activation).replace(u_names=("pump", "rain"), y_names=("level", "flow"))
    controller, filter_ = system(2, 1, 2, 3, 1), system(3, 1, 1, 0, 1)
    loop = eq.interconnect(
        {"tank": plant, "pi": controller, "filter": filter_},
        {"pi.u1": ["r", "-tank.level"], "tank.pump": {"pi.y1": 0.5, "tank.flow": -0.2}, "filter.u1": "tank.flow"},
        inputs=["r", "tank.rain"],
        outputs={"level": "tank.level", "pump": "tank.pump", "error": ["r", "-tank.level"], "smooth": "filter.y1",
                 "rain": "tank.rain"},
    )  # fmt: skip
    assert loop.u_names == ("r", "tank.rain") and loop.y_names == ("level", "pump", "error", "smooth", "rain")

    def pump(y: list[Tensor]) -> Tensor:
        return 0.5 * y[1] - 0.2 * y[0][1:]

    assert_equal_to_hand(
        loop, [plant, controller, filter_],
        lambda y, r: [torch.cat([pump(y), r[1:]]), r[:1] - y[0][:1], y[0][1:]],
        lambda y, r: torch.cat([y[0][:1], pump(y), r[:1] - y[0][:1], y[2], r[1:]]), nr=2,
    )  # fmt: skip


def test_an_lti_is_connected_like_its_lfr_and_like_its_transfer_functions() -> None:
    g = torch.Generator().manual_seed(0)
    ltis = [eq.LTI(0.4 * torch.randn(n, n, generator=g), torch.randn(n, 1, generator=g),
                   torch.randn(1, n, generator=g), 0.1 * torch.ones(1, 1), 0.1) for n in (2, 3)]  # fmt: skip
    omega = torch.linspace(0.1, 30, 20, dtype=F64)
    P, C = (lti.frequency_response(omega) for lti in ltis)
    for found, expected in (
        (eq.feedback(*ltis), P / (1 + P * C)),
        (eq.series(*ltis), P * C),
        (eq.parallel(*ltis), P + C),
    ):
        torch.testing.assert_close(eq.linearise(found).frequency_response(omega), expected, rtol=1e-9, atol=1e-9)
    assert eq.feedback(ltis[0]).nx == 2  # unit feedback


def test_algebra_of_signs_and_order() -> None:
    a, b, c = system(1, 2, 2, 3, 2), system(2, 2, 1, 2, 2), system(3, 2, 2, 1, 2)
    for one, other in (
        (eq.series(eq.series(a, b), c), eq.series(a, eq.series(b, c))),
        (eq.parallel(eq.parallel(a, b), c), eq.parallel(a, eq.parallel(b, c))),
    ):
        for name in BLOCKS:
            torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=1e-13, atol=1e-14)
    nothing = eq.parallel(a, a, signs=(1, -1))  # a model minus itself, from one initial state
    y, _ = eq.simulate(nothing, torch.randn(1, 30, 2, dtype=F64, generator=torch.Generator().manual_seed(0)))
    assert float(y.abs().max()) < 1e-12


def test_series_of_acyclic_systems_stays_acyclic_and_needs_no_tolerance() -> None:
    parts = [system(s, 2, 2, 3, 2) for s in (1, 2, 3)]
    parts = [p.replace(D11=torch.tril(p.D11, -1), D22=9 * p.D22) for p in parts]
    assert eq.series(*parts).is_acyclic


def test_blocks_are_differentiable_and_float32_stays() -> None:
    plant, controller = system(1, 2, 2, 3, 1), system(2, 1, 1, 2, 2)
    gain = torch.ones((), dtype=F64, requires_grad=True)
    loop = eq.feedback(plant, controller.replace(D22=gain * controller.D22))
    loop.D11.sum().backward()
    assert gain.grad is not None and float(gain.grad.abs()) > 0
    assert eq.feedback(plant.to(torch.float32), controller.to(torch.float32)).dtype == torch.float32


def test_units_and_names_follow_the_wires() -> None:
    tank = system(1, 1, 2, 2, 1).replace(u_names=("pump",), y_names=("level",), u_units=("V",), y_units=("m",))
    pi = eq.LTI([[1.0]], [[0.1]], [[0.5]], [[2.0]], dt=0.1)
    loop = eq.interconnect(
        {"tank": tank, "pi": pi.to_lfr(y_units=("V",), u_units=("m",))},
        {"pi.u1": ["r", "-tank.level"], "tank.pump": "pi.y1"}, ["r"], ["tank.level", "tank.pump"],
    )  # fmt: skip
    assert loop.u_units == ("m",) and loop.y_units == ("m", "V")
    free = eq.interconnect({"tank": tank}, {"tank.pump": {"r": 3.0}}, ["r"], ["tank.level"])
    assert free.u_units is None and free.y_units == ("m",)
    both = append(tank, tank)
    assert both.u_names == ("pump", "pump") and both.y_units == ("m", "m") and append(tank, pi).u_names is None
    assert eq.series(pi, tank).y_names == ("level",) and eq.series(pi, tank).u_names is None


def test_ill_posed_loops_are_refused() -> None:
    one = eq.LTI(torch.zeros(0, 0), torch.zeros(0, 1), torch.zeros(1, 0), [[2.0]], dt=0.1)
    half = eq.LTI(torch.zeros(0, 0), torch.zeros(0, 1), torch.zeros(1, 0), [[0.5]], dt=0.1)
    with pytest.raises(eq.InputError, match="I − K D22 is singular"):
        eq.feedback(one, half, sign=1)
    assert float(eq.feedback(one, half).D22[0, 0]) == pytest.approx(1.0)
    relu = eq.LFR(D12=[[1.0]], D21=[[1.0]], D22=[[0.0]], activation="relu", dt=0.1)  # y = relu(u)
    with pytest.raises(eq.InputError, match="changes its sign"):
        eq.feedback(relu, one, sign=1)  # w = relu(2 w + r): none for r > 0, two for r < 0
    assert eq.feedback(relu, half, sign=1).D11.item() == 0.5
    assert eq.feedback(relu, one).D11.item() == -2.0


metres = system(1, 1, 1, 1, 1).replace(y_units=("m",))
twins = system(1, 1, 1, 1, 2).replace(y_names=("a", "a"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: eq.series(system(1, 1, 1, 1, 2), system(2, 1, 1, 1, 1)), "numbers of outputs"),
        (lambda: eq.feedback(system(1, 1, 1, 1, 2)), "feedback: the numbers"),
        (lambda: eq.feedback(system(1, 1, 1, 1, 1), sign=2), "sign of a feedback"),
        (lambda: eq.series(system(1, 1, 1, 1, 1), system(1, 1, 1, 1, 1, dt=0.2)), "one sample time.*0.1 s, 0.2 s"),
        (lambda: eq.series(system(1, 1, 1, 1, 1, dt=None), system(1, 1, 1, 1, 1)), "continuous, 0.1 s"),
        (lambda: eq.series(system(1, 1, 1, 1, 1), system(1, 1, 1, 1, 1).to(torch.float32)), "one dtype"),
        (lambda: eq.parallel(system(1, 1, 1, 1, 1), system(1, 2, 1, 1, 1)), "parallel: the numbers of inputs"),
        (lambda: eq.parallel(system(1, 1, 1, 1, 1), signs=(1, 1)), "one sign each"),
        (lambda: eq.series(system(1, 1, 1, 1, 1), torch.eye(1)), "only an LFR or an LTI"),
        (lambda: append(), "nothing to connect"),
        (lambda: connect(system(1, 1, 1, 1, 1), *3 * (torch.eye(2),)), "K of a wiring"),
        (lambda: eq.series(metres, system(1, 1, 1, 1, 1).replace(u_units=("V",))), "units of outputs.*differ"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(eq.InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"connections": {"pi.u1": "r"}}, "nothing enters tank.u1"),
        ({"connections": {"pi.u2": "r", "tank.u1": "pi.y1"}}, "no input pi.u2 to connect"),
        ({"connections": {"pi.u1": ["r", "-tank.y9"], "tank.u1": "pi.y1"}}, "no signal tank.y9"),
        ({"inputs": ["r", "d"]}, "d enters nothing"),
        ({"inputs": ["r", "r"]}, "named twice"),
        ({"inputs": ["r", "tank.y1"]}, "name of a system's output"),
        ({"outputs": ["tank.y2"]}, "no signal tank.y2"),
        ({"systems": {"tank": twins, "pi": system(1, 1, 1, 1, 1)}}, "twice"),
        ({"outputs": {"sum": ["tank.y1", "pi.y1"]}}, "different units"),
    ],
)  # fmt: skip
def test_named_wires_that_do_not_fit_are_refused(change: dict, words: str) -> None:
    given = {
        "systems": {"tank": system(1, 1, 2, 1, 1).replace(y_units=("m",)),
                    "pi": system(2, 1, 1, 1, 1).replace(y_units=("V",))},
        "connections": {"pi.u1": ["r", "-tank.y1"], "tank.u1": "pi.y1"}, "inputs": ["r"], "outputs": ["tank.y1"],
    }  # fmt: skip
    eq.interconnect(**given)
    with pytest.raises(eq.InputError, match=words):
        eq.interconnect(**{**given, **change})
