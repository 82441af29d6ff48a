"""The loops that numba compiles (the extra `fast`): one lane after the other, neuron by neuron, row updates inside."""

from __future__ import annotations

import math
from typing import Any

import numba  # pyright: ignore[reportMissingImports]


def _compile(function: Any) -> Any:
    # reassoc and contract let rows vectorise and fuse; nan and inf keep their meaning
    return numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"}, error_model="numpy")(function)


def _phi(v: Any, code: int, slope: Any) -> Any:
    if code == 0:
        return v if v > 0 or v != v else slope * 0
    if code == 1:
        return math.tanh(v)
    if code == 2:
        return v if v > 0 else slope * v
    if code == 3:
        return v + math.log1p(math.exp(-v)) if v > 0 else math.log1p(math.exp(v))
    if code in (4, 12):
        s = 1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v))
        return s if code == 4 else v * s
    if code == 6:
        return v - math.sin(v)
    if code == 7:
        return 1 + slope * 0 if v > 1 else -1 + slope * 0 if v < -1 else v
    if code == 8:
        return v if v > 0 else slope * math.expm1(v)
    if code == 9:
        return v - slope if v > slope else v + slope if v < -slope else v * 0
    if code == 10:
        return 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v))
    if code == 11:
        return v * 0.5 * math.erfc(-v * 0.7071067811865476)
    if code == 13:
        return v * math.tanh(v + math.log1p(math.exp(-v)) if v > 0 else math.log1p(math.exp(v)))
    return v


def _forward_loop(
    first: int, last: int, to_v: Any, to_x: Any, x: Any, AT: Any, B1T: Any, C1T: Any, D11T: Any, code: int, slope: Any,
    slot: int, Z: Any,
) -> None:  # fmt: skip
    nx, nv = C1T.shape
    for b in range(first, last):
        for t in range(to_v.shape[1]):
            row, state = Z[b, t], x[b]
            v, new = to_v[b, t].copy(), to_x[b, t].copy()
            for k in range(nx):
                s = state[k]
                row[k] = s
                c, a = C1T[k], AT[k]
                for i in range(nv):
                    v[i] += c[i] * s
                for i in range(nx):
                    new[i] += a[i] * s
            for k in range(nv):
                s = _phi_compiled(v[k], code, slope)
                row[slot + k] = s
                d, a = D11T[k], B1T[k]
                for i in range(k + 1, nv):
                    v[i] += d[i] * s
                for i in range(nx):
                    new[i] += a[i] * s
            state[:] = new


def _backward_loop(
    first: int, last: int, gz: Any, slope: Any, x: Any, A: Any, B1: Any, C1: Any, D11: Any, G: Any
) -> None:  # fmt: skip
    nv, nx = C1.shape
    slot = G.shape[2] - nv
    for b in range(first, last):
        for t in range(gz.shape[1] - 1, -1, -1):
            multiplier, row = x[b], G[b, t]
            g, r = gz[b, t, :nx].copy(), gz[b, t, nx:].copy()
            for k in range(nx):
                s = multiplier[k]
                row[k] = s
                a, c = A[k], B1[k]
                for i in range(nx):
                    g[i] += a[i] * s
                for i in range(nv):
                    r[i] += c[i] * s
            for k in range(nv - 1, -1, -1):
                s = slope[b, t, k] * r[k]
                row[slot + k] = s
                d, c = D11[k], C1[k]
                for i in range(k):
                    r[i] += d[i] * s
                for i in range(nx):
                    g[i] += c[i] * s
            multiplier[:] = g


_phi_compiled = numba.njit(cache=True, inline="always", error_model="numpy")(_phi)
forward, backward = _compile(_forward_loop), _compile(_backward_loop)
