"""What the rollout is timed against: torch.nn.LSTM always; tsfast, neural-ssm and JAX where they are installed.

Each entry makes a callable that runs one training step (forward, loss, gradients of all parameters) in float32, for a
network of nx states and nv neurons (units) on inputs (batch, time, 2) with three outputs, ReLU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import eqnets as eq
from eqnets.system.kernels import adjoint, derivatives

try:
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError:
    jax = jnp = None
try:
    from tsfast.models.architectures.ren import REN as TsfastREN
except ModuleNotFoundError:
    TsfastREN = None
try:
    from neural_ssm.rens.ren import REN as NeuralSsmREN
except ModuleNotFoundError:
    NeuralSsmREN = None

NU, NY = 2, 3
Run = Callable[[], Any]
Maker = Callable[[int, int, Tensor], Run]


def step(model: Callable[[Tensor], Any], u: Tensor) -> Run:
    def run() -> None:
        found = model(u)
        (found[0] if isinstance(found, tuple) else found).square().mean().backward()

    return run


def ren(nx: int, nv: int) -> eq.ContractingREN:
    return eq.ContractingREN(NU, nx, nv, NY, generator=torch.Generator().manual_seed(0), dtype=torch.float32)


def system(nx: int, nv: int) -> eq.LFR:
    """The network's explicit system in float32, whose blocks ask for gradients."""
    fixed = ren(nx, nv).explicit().detach().to(torch.float32)
    return fixed.replace(**{name: block.requires_grad_() for name, block in fixed.blocks().items()})


def whole(nx: int, nv: int, u: Tensor) -> Run:
    return step(ren(nx, nv), u)


def rollout(nx: int, nv: int, u: Tensor) -> Run:
    lfr = system(nx, nv)
    return step(lambda u: eq.simulate(lfr, u), u)


def numba(nx: int, nv: int, u: Tensor) -> Run:
    lfr, x0 = system(nx, nv), u.new_zeros(len(u), nx)
    return step(lambda u: derivatives.rollout(lfr, u, x0, adjoint.Settings(lfr.activation, 1.0, 1e-6, 0, "numba")), u)


def lstm(nx: int, nv: int, u: Tensor) -> Run:
    del nx
    torch.manual_seed(0)
    return step(torch.nn.LSTM(NU, nv, batch_first=True), u)


def tsfast(nx: int, nv: int, u: Tensor) -> Run:
    torch.manual_seed(0)
    return step(TsfastREN(NU, NY, nx, nv, act="relu", backend="c"), u)  # "auto" takes its eager loops on a CPU


def neural_ssm(nx: int, nv: int, u: Tensor) -> Run:
    torch.manual_seed(0)
    return step(NeuralSsmREN(NU, NY, nx, nv, mode="l2stable", gammat=1.0), u)


def jax_scan(nx: int, nv: int, u: Tensor) -> Run:
    """lax.scan over time, and inside of it over the neurons, with the same equations; from the explicit system."""
    blocks = {name: jnp.asarray(block.detach().numpy()) for name, block in system(nx, nv).blocks().items()}
    inputs = jnp.asarray(u.numpy()).swapaxes(0, 1)

    def loss(p: dict[str, Any]) -> Any:
        def substitute(v: Any, column: Any) -> tuple[Any, Any]:
            i, d = column
            w = jnp.maximum(v[:, i], 0)
            return v + w[:, None] * d, w

        def advance(x: Any, u: Any) -> tuple[Any, Any]:
            v = x @ p["C1"].T + u @ p["D12"].T + p["bv"]
            _, w = jax.lax.scan(substitute, v, (jnp.arange(nv), jnp.tril(p["D11"], -1).T))
            w = w.T
            y = x @ p["C2"].T + w @ p["D21"].T + u @ p["D22"].T + p["by"]
            return x @ p["A"].T + w @ p["B1"].T + u @ p["B2"].T + p["bx"], y

        _, y = jax.lax.scan(advance, jnp.zeros((inputs.shape[1], nx), jnp.float32), inputs)
        return jnp.mean(y**2)

    gradient = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(gradient(blocks))


OURS: dict[str, Maker] = {"eqnets": whole, "eqnets rollout": rollout}
PEERS: dict[str, Maker] = {"LSTM": lstm}
if adjoint.fused.loops() is not None:
    OURS["eqnets rollout, numba"] = numba
if TsfastREN is not None:
    PEERS["tsfast"] = tsfast
if jax is not None:
    PEERS["JAX rollout"] = jax_scan
if NeuralSsmREN is not None:
    PEERS["neural-ssm"] = neural_ssm
SLOW = {"neural-ssm": 1, "JAX rollout": 3}
"""Peers that take long are timed in fewer rounds."""
