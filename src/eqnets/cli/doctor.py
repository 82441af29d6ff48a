"""`eqnets doctor`: what is installed, which fast paths can run here, and what to do about those that cannot."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

import torch
import typer

import eqnets
from eqnets.equilibrium import dense, native
from eqnets.models import native as direct
from eqnets.system.kernels import build, fused

_CORE = ("torch", "numpy", "scipy")
_IN_C = (("rollout", build), ("parameters to system", direct), ("solver steps", native), ("dense splitting", dense))
_EXTRAS = {
    "fast": ("numba",),
    "sweep": ("ray",),
    "identify": ("h5py", "safetensors", "plotly", "jinja2", "typer", "tqdm"),
    "ode": ("torchdiffeq",),
    "control": ("control",),
    "export": ("onnx", "onnxruntime"),
}


def doctor() -> None:
    """Say what is installed, what is missing, and how to get it. Always exit code 0: nothing missing is an error."""
    for line in lines():
        typer.echo(line)


def lines() -> Iterator[str]:
    """The report, line by line.

    Yields:
        A line without its end.
    """  # noqa: DOC402
    yield f"eqnets {eqnets.__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield ", ".join(f"{name} {_version(name) or 'missing'}" for name in _CORE)
    for extra, names in _EXTRAS.items():
        missing = [name for name in names if _version(name) is None]
        there = ", ".join(f"{name} {_version(name)}" for name in names if name not in missing)
        remedy = f"{', '.join(missing)} missing; run: pip install 'eqnets[{extra}]'" if missing else ""
        yield f"extra {extra}: " + "; ".join(part for part in (there, remedy) if part)
    yield f"threads: {torch.get_num_threads()} (torch.set_num_threads changes it)"
    for what, built in _IN_C:
        for dtype, double in (("float32", False), ("float64", True)):
            library, words = built.library(double)
            yield f"{what} in C, {dtype}: " + (f"yes ({words})" if library is not None else f"no: {words}.")
    yield "rollout in numba: " + ("yes" if fused.loops() is not None else "no; run: pip install 'eqnets[fast]'.")
    yield "rollout in torch: yes (any device, full D11, any activation)"
    yield "GPU: " + (torch.cuda.get_device_name() if torch.cuda.is_available() else "none that torch can use")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
