"""What is exported: the system, its evidence, its initial state, its stored vectors; and where the files go."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eqnets.certification import Certificate
from eqnets.errors import InputError
from eqnets.interop.neurons import Neurons, fixed_cost
from eqnets.interop.vectors import TOLERANCE, Agreement, Vectors
from eqnets.system.lfr import LFR

_RESERVED = frozenset(
    "auto break case catch char class const continue default delete do double else elseif end enum extern float for "
    "function global goto if inline int long new otherwise parfor persistent private public register restrict return "
    "short signed sizeof spmd static struct switch template this try typedef union unsigned using virtual void "
    "volatile while and as assert async await def del elif except finally from import in is lambda nonlocal not or "
    "pass raise with yield main".split()
)


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Args:
        files: the files, complete.
        agreement: how far they are from the model on the stored vectors.
    """

    files: tuple[Path, ...]
    agreement: Agreement


@dataclass(frozen=True, eq=False)
class Subject:
    """An LFR made ready for export; see `Subject.of`.

    Args:
        lfr: discrete, float64, on the CPU.
        certificate: of this LFR, or None.
        name: a valid identifier.
        dtype: "float64" or "float32".
        neurons: at a fixed cost.
        vectors: stored inputs and answers; they hold the initial state.
    """

    lfr: LFR
    certificate: Certificate | None
    name: str
    dtype: str
    neurons: Neurons
    vectors: Vectors

    @classmethod
    def of(
        cls, lfr: LFR, certificate: Certificate | None = None, x0: Tensor | np.ndarray | None = None,
        u: Tensor | np.ndarray | None = None, name: str = "model", dtype: str = "float64",
    ) -> Subject:  # fmt: skip
        """Check what is to be exported.

        Args:
            lfr: a discrete LFR.
            certificate: its certificate; the sentence goes into the export, and Λ bounds the steps of a full D11.
            x0: (nx,) the initial state; None is zero.
            u: (time, nu) or (batch, time, nu) inputs of the stored vectors; None draws standard normal ones.
            name: of the functions and files.
            dtype: in which the export computes.

        Returns:
            The subject.

        Raises:
            InputError: no LFR, a continuous one, entries that are not finite, a certificate of another system, or a
                wrong x0, u, name or dtype.
            NotCertified: a full D11 whose equation nothing proves to have one solution.
        """  # noqa: DOC502
        exact = exact_system(lfr, certificate)
        if lfr.dt is None:
            raise InputError("this LFR is in continuous time; discretise it: eqnets.discretise(lfr, dt, 'midpoint').")
        if dtype not in TOLERANCE:
            raise InputError(f"there is no dtype '{dtype}' for an export; choose one of {', '.join(TOLERANCE)}.")
        check_name(name)
        start = torch.zeros(lfr.nx) if x0 is None else torch.as_tensor(x0)
        start = start.detach().to("cpu", torch.float64).numpy().copy()
        if start.shape != (lfr.nx,) or not np.isfinite(start).all():
            raise InputError(f"x0 must be ({lfr.nx},) finite numbers; got shape {start.shape}.")
        neurons = fixed_cost(exact, certificate, float(np.finfo(dtype).eps))
        inputs = u.detach().cpu().numpy() if isinstance(u, Tensor) else u
        return cls(exact, certificate, name, dtype, neurons, Vectors.of(exact, start, inputs))

    def channels(self, which: str) -> list[str]:
        """The names of the inputs ("u") or outputs ("y"), with their units in brackets."""
        names, units = self.names(which), getattr(self.lfr, f"{which}_units") or ()
        padded = [*units, *[""] * (len(names) - len(units))]
        return [f"{name} [{unit}]" if unit else name for name, unit in zip(names, padded, strict=True)]

    def names(self, which: str) -> list[str]:
        """The names of the inputs ("u") or outputs ("y"); u1, u2, … where they have none."""
        count = self.lfr.nu if which == "u" else self.lfr.ny
        return list(getattr(self.lfr, f"{which}_names") or [f"{which}{i + 1}" for i in range(count)])

    @property
    def claim(self) -> str:
        """The certificate's sentence, or that there is none."""
        return self.certificate.sentence if self.certificate is not None else "no certificate was given"

    @property
    def facts(self) -> dict[str, Any]:
        """What a program that loads the export may ask for: plain values, fit for JSON."""
        lfr = self.lfr
        return {
            "dt": lfr.dt, "u_names": self.names("u"), "y_names": self.names("y"), "u_units": lfr.u_units,
            "y_units": lfr.y_units, "x0": self.vectors.x0.tolist(), "claim": self.claim, "sha256": lfr.digest(),
            "neurons": self.neurons.facts,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """What a reader of the export must know, a line each; no line holds a line break."""
        lfr = self.lfr
        lines = [
            f"{self.name}: a model exported by eqnets; one step every {lfr.dt:g} s.",
            f"sizes    nx {lfr.nx}, nv {lfr.nv}, nu {lfr.nu}, ny {lfr.ny}; {self.dtype}; {lfr.activation.name[:200]}",
            *(f"input    u[{i}] {words}" for i, words in enumerate(self.channels("u"))),
            *(f"output   y[{i}] {words}" for i, words in enumerate(self.channels("y"))),
            f"neurons  {self.neurons.sentence}.",
            f"claim    {self.claim}",
            "         It is about the model in exact arithmetic, with the float64 weights; not about rounding, nor "
            "about the plant.",
            f"model    sha256 {lfr.digest()}",
        ]
        return [" ".join(line.splitlines()) for line in lines]


def exact_system(lfr: LFR, certificate: Certificate | None) -> LFR:
    """The LFR in float64 on the CPU, cut from the graph.

    Args:
        lfr: the system.
        certificate: said to be of this LFR, or None.

    Returns:
        The system.

    Raises:
        InputError: no LFR, entries that are not finite, or a certificate of another system.
    """
    if not isinstance(lfr, LFR):
        raise InputError(f"an export needs an LFR, got {type(lfr).__name__}; give model.explicit() or fit.lfr.")
    exact = lfr.detach().to("cpu", torch.float64)
    if not all(bool(torch.isfinite(block).all()) for block in exact.blocks().values()):
        raise InputError("a block of this LFR holds a value that is not finite; nothing can be exported.")
    if certificate is not None and certificate.digest != exact.digest():
        raise InputError("the certificate is about another LFR (its sha256 differs); give this one's.")
    return exact


def check_name(name: str) -> None:
    """Refuse a name that cannot stand before functions in C, MATLAB and Python, with an `InputError`."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", name) or name in _RESERVED:
        raise InputError(f"'{name}' cannot name functions; give a short name of letters, digits and _.")


def refuse_standing(folder: Path, names: Sequence[str], force: bool) -> None:
    """Refuse, before anything is computed, to overwrite a file.

    Args:
        folder: where the files are to go.
        names: of the files.
        force: whether they may be overwritten.

    Raises:
        InputError: a file stands there and `force` is not given, or `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"'{folder}' is a file; name a folder for the export.")
    standing = [name for name in names if (folder / name).exists()]
    if standing and not force:
        raise InputError(
            f"'{folder}' already holds {', '.join(standing)}; choose another folder, or overwrite with force (--force)."
        )


@contextmanager
def staged(
    folder: str | os.PathLike[str], names: Sequence[str], force: bool
) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """A temporary folder whose files go to `folder` when the block ends without an error, and else nowhere.

    Args:
        folder: where to; it is made if it does not exist.
        names: of the files that the block will write.
        force: whether files of these names may be replaced.

    Yields:
        The temporary folder, and the paths that the files will have.

    Raises:
        InputError: a file stands there and `force` is not given, or `folder` is a file.
    """  # noqa: DOC502
    target = Path(folder)
    refuse_standing(target, names, force)
    with tempfile.TemporaryDirectory(prefix="eqnets-") as name:
        stage, files = Path(name), tuple(target / each for each in names)
        yield stage, files
        target.mkdir(parents=True, exist_ok=True)
        for path in files:
            part = path.with_name(path.name + ".part")
            shutil.copyfile(stage / path.name, part)
            os.replace(part, path)
