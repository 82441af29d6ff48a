"""Long records, drawn with few points: the minimum and the maximum of every stretch, so that no peak is lost."""

from __future__ import annotations

import numpy as np

MOST_POINTS = 10_000
"""At most this many points are drawn per trace."""


def envelope_index(y: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """The samples to draw: all of a short signal; of a long one, the extremes of equal stretches and both ends.

    Args:
        y: (T,) the signal; NaN is drawn as a gap and never chosen as an extreme.
        most: how many points may remain, at least 4.

    Returns:
        Increasing indices into y, at most `most` of them.
    """
    length = len(y)
    if length <= most:
        return np.arange(length)
    buckets = (most - 2) // 2
    edges = np.linspace(0, length, buckets + 1).astype(np.int64)
    width = int(np.diff(edges).max())
    index = np.minimum(edges[:-1, None] + np.arange(width), edges[1:, None] - 1)  # repeats the last of a short stretch
    values = np.asarray(y, dtype=np.float64)[index]
    rows = np.arange(buckets)
    low = index[rows, np.argmin(np.where(np.isnan(values), np.inf, values), axis=1)]
    high = index[rows, np.argmax(np.where(np.isnan(values), -np.inf, values), axis=1)]
    return np.unique(np.concatenate([[0], low, high, [length - 1]]))


def trace(y: np.ndarray, dt: float, most: int = MOST_POINTS) -> dict:
    """The x and y of a plotly scatter, as float32 where that loses nothing that can be seen.

    Args:
        y: (T,) the signal, one sample every dt.
        dt: the sample time in seconds.
        most: how many points may be drawn.

    Returns:
        `{"x0", "dx", "y"}` where every sample is drawn, `{"x", "y"}` where the signal is thinned.
    """
    y = np.asarray(y, dtype=np.float64)
    if len(y) <= most:
        return {"x0": 0.0, "dx": dt, "y": _single(y)}
    index = envelope_index(y, most)
    x = index * dt
    fine = np.finfo(np.float32).eps * x[-1] < dt / 100
    return {"x": x.astype(np.float32) if fine else x, "y": _single(y[index])}


def _single(y: np.ndarray) -> np.ndarray:
    """float32, unless the signal is a small variation on a large offset or beyond float32's range."""
    finite = y[np.isfinite(y)]
    if len(finite):
        largest = float(np.abs(finite).max())
        if largest > 1e37 or np.ptp(finite) < 1e-4 * largest:
            return y
    return y.astype(np.float32)


def cap(lengths: list[int], budget_bytes: int, most: int = MOST_POINTS, least: int = 1_000) -> int:
    """The number of points per trace at which all traces together stay inside a budget.

    Args:
        lengths: the number of samples of every trace.
        budget_bytes: for the base64 text of all of them.
        most: the answer where the budget allows it.
        least: never fewer than this.

    Returns:
        A number of points between `least` and `most`.
    """

    def size(points: int) -> float:
        return sum(4 / 3 * (4 * n if n <= points else 8 * points) for n in lengths)

    while most > least and size(most) > budget_bytes:
        most = max(least, int(most / 1.25))
    return most
