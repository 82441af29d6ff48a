"""Where models leave the house: C99, MATLAB, python-control, ONNX and torch.export.

    import eqnets.interop as interop
    interop.to_c(fit.lfr, "c", certificate=fit.certificate)

Each export is held against the model on stored vectors before it is handed out, and says how equal they are. What needs
an extra (`control`; `export` for ONNX) is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eqnets.interop.c import to_c
from eqnets.interop.mat import to_mat
from eqnets.interop.program import to_program
from eqnets.interop.subject import Export
from eqnets.interop.vectors import Agreement

if TYPE_CHECKING:
    from eqnets.interop.control import from_statespace, to_control, to_nlsys, to_statespace
    from eqnets.interop.onnx import to_onnx

__all__ = [
    "Agreement",
    "Export",
    "from_statespace",
    "to_c",
    "to_control",
    "to_mat",
    "to_nlsys",
    "to_onnx",
    "to_program",
    "to_statespace",
]

_EXTRAS = {
    "from_statespace": "control",
    "to_control": "control",
    "to_nlsys": "control",
    "to_onnx": "onnx",
    "to_statespace": "control",
}


def __getattr__(name: str) -> Any:
    if name not in _EXTRAS:
        raise AttributeError(f"eqnets.interop has no {name!r}; it has {', '.join(__all__)}.")
    try:
        value = getattr(import_module(f"eqnets.interop.{_EXTRAS[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("eqnets"):
            raise
        extra = {"control": "control", "onnx": "export"}[_EXTRAS[name]]
        raise ImportError(
            f"eqnets.interop.{name} needs {error.name}, which is not installed; run: pip install 'eqnets[{extra}]'."
        ) from error
    globals()[name] = value
    return value
