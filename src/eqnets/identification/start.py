"""The linear start: the best linear approximation in state space, by vector fitting on the records' spectra.

The discrete Fourier transform of x⁺ = A x + B u over a record of N samples is exact with one more input,

    Y(z) = [C (zI − A)⁻¹ B + D] U(z) + C (zI − A)⁻¹ z (x_0 − x_N),     z = e^{2πjk/N},

so fitting Y by a rational function of both is fitting the simulation error, without leakage and with the initial state
of every record estimated on the way (Pintelon & Schoukens 2012, ch. 6). Vector fitting (Gustavsen & Semlyen 1999) finds the poles, all inside a
circle of radius < 1, so that the linear model is stable by construction, whatever the data.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from eqnets.errors import DataError
from eqnets.identification.data import Data
from eqnets.system.lti import LTI

_MOST_BINS = 24_000
_ITERATIONS = 20

Complex = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The frequency bins of one record: z (k,), U (k, nu), Y (k, ny) complex, and the weight (k,) of each bin's error."""  # noqa: E501

    z: Complex
    U: Complex
    Y: Complex
    weight: np.ndarray


def spectra(data: Data, generator: torch.Generator) -> list[Spectrum]:
    """The spectra of all records; of long records the strongest bins and a weighted sample of the others.

    Args:
        data: normalised records.
        generator: draws the sample, so that the weighted squared error is an unbiased estimate of the whole.

    Returns:
        One spectrum a record.
    """
    result = []
    for record in data.records:
        n = len(record)
        U, Y = (np.fft.rfft(signal, axis=0) / np.sqrt(n) for signal in (record.u, record.y))
        z = np.exp(2j * np.pi * np.arange(len(U)) / n)
        weight = np.full(len(U), np.sqrt(2.0))  # a bin stands for its conjugate too
        weight[0] = 1.0
        if n % 2 == 0:
            weight[-1] = 1.0
        keep = int(_MOST_BINS * n / data.n_samples)
        if len(U) > keep:
            strongest = np.argsort(-(np.abs(U) ** 2).sum(1) - (np.abs(Y) ** 2).sum(1))
            top, others = strongest[: keep * 4 // 5], strongest[keep * 4 // 5 :]
            drawn = others[torch.randperm(len(others), generator=generator)[: keep - len(top)].numpy()]
            weight[drawn] *= np.sqrt(len(others) / len(drawn))
            kept = np.concatenate([top, drawn])
            z, U, Y, weight = z[kept], U[kept], Y[kept], weight[kept]
        result.append(Spectrum(z, U, Y, weight))
    return result


def largest_radius(data: Data) -> float:
    """The largest pole radius that the records can show: a time constant of a tenth of the longest record."""
    return float(np.exp(-10.0 / max(data.lengths)))


def vector_fit(bins: list[Spectrum], order: int, radius: float, dt: float) -> LTI:
    """The stable linear model of a given order that fits the spectra best.

    Args:
        bins: the spectra of the training records.
        order: the number of states.
        radius: the largest pole radius allowed, below 1.
        dt: the sample time in seconds.

    Returns:
        The model, in normalised signals; all poles within `radius`.

    Raises:
        DataError: the records are too short for this order.
    """
    nu, ny = bins[0].U.shape[1], bins[0].Y.shape[1]
    rows = 2 * sum(len(b.z) for b in bins)
    if rows * ny < 2 * (order * (nu * ny + len(bins)) + nu * ny):
        raise DataError(
            f"{rows} real equations cannot determine a linear model of order {order}; give longer records or a smaller nx."  # noqa: E501
        )
    poles = _first_poles(bins, order, radius)
    best: tuple[float, Complex, np.ndarray] | None = None
    for _ in range(_ITERATIONS):
        cost, residues, sigma = _fit_at(bins, poles)
        if best is None or cost < best[0]:
            best = (cost, poles, residues)
        A, b = _real_form(poles)
        poles = _inside(np.linalg.eigvals(A - np.outer(b, sigma)).astype(complex), radius)
    assert best is not None
    return _realise(best[1], best[2], nu, ny, order, dt)


def _first_poles(bins: list[Spectrum], order: int, radius: float) -> Complex:
    """Lightly damped pairs at the quantiles of the output power over frequency; one real pole if the order is odd."""
    angle = np.angle(np.concatenate([b.z for b in bins]))
    power = np.concatenate([(np.abs(b.Y) ** 2).sum(1) * b.weight**2 for b in bins])
    sort = np.argsort(angle)
    share = np.cumsum(power[sort]) / power.sum()
    pairs = order // 2
    at = np.maximum(np.interp((np.arange(pairs) + 0.5) / max(pairs, 1), share, angle[sort]), 1e-4)
    start = np.minimum(1 - np.minimum(0.1, 0.05 * at + 1e-3), radius) * np.exp(1j * at)
    return np.concatenate([start, np.full(order % 2, min(0.9, radius), dtype=complex)])


def _inside(poles: Complex, radius: float) -> Complex:
    """Reflect poles into the unit circle, bound their radius, and keep one of each conjugate pair."""
    size = np.abs(poles)
    poles = np.where(size > 1, poles / np.maximum(size, 1e-300) ** 2, poles)
    size = np.abs(poles)
    poles = np.where(size > radius, poles * (radius / np.maximum(size, 1e-300)), poles)
    real = np.abs(poles.imag) <= 1e-10
    return np.concatenate([poles[~real & (poles.imag > 0)], poles[real].real.astype(complex)])


def _basis(z: Complex, poles: Complex) -> Complex:
    """The real-coefficient partial fractions: 1/(z−p) + 1/(z−p̄) and j/(z−p) − j/(z−p̄) of a pair, 1/(z−p) of a real p."""  # noqa: E501
    columns = []
    for p in poles:
        one = 1 / (z - p)
        if p.imag:
            other = 1 / (z - np.conj(p))
            columns += [one + other, 1j * (one - other)]
        else:
            columns.append(one)
    return np.stack(columns, axis=1)


def _real_form(poles: Complex) -> tuple[np.ndarray, np.ndarray]:
    """A and b with (zI − A)⁻¹ b = `_basis`: a rotation block for a pair."""
    blocks = [np.array([[p.real, p.imag], [-p.imag, p.real]]) if p.imag else np.array([[p.real]]) for p in poles]
    b = np.concatenate([np.array([2.0, 0.0]) if p.imag else np.ones(1) for p in poles])
    return np.asarray(scipy.linalg.block_diag(*blocks)), b


def _fit_at(bins: list[Spectrum], poles: Complex) -> tuple[float, np.ndarray, np.ndarray]:
    """At fixed poles: the squared error, the residues and D (ny, nu·n + nu), and σ's coefficients for the next poles.

    The initial states' columns are projected out record by record; σ then solves Σ ‖Y σ − (R φ U + D U)‖², all outputs
    sharing it.
    """  # noqa: DOC201
    nu, ny = bins[0].U.shape[1], bins[0].Y.shape[1]
    left: list[np.ndarray] = []
    right: list[list[np.ndarray]] = [[] for _ in range(ny)]
    target: list[list[np.ndarray]] = [[] for _ in range(ny)]
    for b in bins:
        phi, w = _basis(b.z, poles), b.weight[:, None]
        transient, _ = np.linalg.qr(_stack(phi * b.z[:, None] * w))
        columns = np.concatenate([phi * b.U[:, [j]] for j in range(nu)] + [b.U], axis=1) * w
        left.append(_project_out(transient, _stack(columns)))
        for i in range(ny):
            y = b.Y[:, [i]] * w
            right[i].append(_project_out(transient, _stack(phi * y)))
            target[i].append(_project_out(transient, _stack(y)))
    Q, R = np.linalg.qr(np.concatenate(left))
    cost, residues, gram, moment = 0.0, [], 0.0, 0.0
    for i in range(ny):
        y = np.concatenate(target[i])[:, 0]
        c = Q.T @ y
        residues.append(np.linalg.lstsq(R, c, rcond=1e-13)[0])
        rest = y - Q @ c
        cost += float(rest @ rest)
        free = _project_out(Q, np.concatenate(right[i]))
        gram, moment = gram + free.T @ free, moment + free.T @ rest
    sigma = -np.linalg.lstsq(np.asarray(gram), np.asarray(moment), rcond=1e-14)[0]
    return cost, np.stack(residues), sigma


def _stack(matrix: Complex) -> np.ndarray:
    return np.concatenate([matrix.real, matrix.imag])


def _project_out(orthonormal: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return matrix - orthonormal @ (orthonormal.T @ matrix)


def _realise(poles: Complex, residues: np.ndarray, nu: int, ny: int, order: int, dt: float) -> LTI:
    """A state-space model of the partial fractions, reduced to `order` states by balanced truncation if it has more."""
    A, b = _real_form(poles)
    n = len(A)
    R = residues[:, : nu * n].reshape(ny, nu, n)
    D = residues[:, nu * n :]
    if nu <= ny:  # a copy of the poles for every input
        system = (
            scipy.linalg.block_diag(*[A] * nu),
            scipy.linalg.block_diag(*[b[:, None]] * nu),
            R.reshape(ny, nu * n),
            D,
        )
    else:  # or for every output
        system = (
            scipy.linalg.block_diag(*[A.T] * ny), np.concatenate(list(R.transpose(0, 2, 1))),
            scipy.linalg.block_diag(*[b[None, :]] * ny), D,
        )  # fmt: skip
    lti = LTI(*(torch.from_numpy(np.ascontiguousarray(m)) for m in system), dt=dt)
    return lti if lti.nx <= order else balanced_truncation(lti, order)


def balanced_truncation(lti: LTI, order: int) -> LTI:
    """The `order` most controllable and observable states (square-root method); the result is stable.

    Args:
        lti: a stable system.
        order: the number of states to keep, at most lti.nx.

    Returns:
        The reduced system, balanced.
    """
    A, B, C = lti.A.numpy(), lti.B.numpy(), lti.C.numpy()
    controllable = _root(scipy.linalg.solve_discrete_lyapunov(A, B @ B.T))
    observable = _root(scipy.linalg.solve_discrete_lyapunov(A.T, C.T @ C))
    left, values, right = np.linalg.svd(observable.T @ controllable)
    scale = 1 / np.sqrt(np.maximum(values[:order], 1e-150))
    into, back = (observable @ left[:, :order] * scale).T, controllable @ right[:order].T * scale
    reduced = (into @ A @ back, into @ B, C @ back, lti.D.numpy())
    return LTI(*(torch.from_numpy(np.ascontiguousarray(m)) for m in reduced), dt=lti.dt)


def _root(gramian: np.ndarray) -> np.ndarray:
    """S with S Sᵀ = the positive semidefinite gramian, rounding below zero cut off."""
    values, vectors = np.linalg.eigh((gramian + gramian.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0.0))
