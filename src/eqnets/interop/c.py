"""C99 with no dependencies: a header, a source with static arrays, and a program that checks them on the target.

A step allocates nothing, calls nothing but libm, and costs the same for every input. The arrays hold every bit of the
weights (in float32, the nearest float). `c_text` has the text; here it is compiled, run, and handed out.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
from torch import Tensor

from eqnets.certification import Certificate
from eqnets.errors import EqnetsError, InputError
from eqnets.interop.c_text import check, header, source
from eqnets.interop.subject import Export, Subject, staged
from eqnets.interop.vectors import TOLERANCE, Agreement
from eqnets.system.lfr import LFR

_SECONDS = 120
_FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-pedantic")


def to_c(
    lfr: LFR, folder: str | os.PathLike[str], *, certificate: Certificate | None = None,
    x0: Tensor | np.ndarray | None = None, u: Tensor | np.ndarray | None = None, name: str = "model",
    dtype: str = "float64", force: bool = False, unchecked: bool = False,
) -> Export:  # fmt: skip
    """Write NAME.h, NAME.c and NAME_check.c: `void NAME_init(NAME_state *s)`, `void NAME_step(s, u, y)`.

    What is written has been compiled and run on the stored vectors; NAME_check.c repeats that on the target.

    Args:
        lfr: a discrete LFR.
        folder: where the files go.
        certificate: of this LFR; its sentence stands in the header, and Λ bounds the steps of a full D11.
        x0: (nx,) the state that NAME_init sets; None is zero.
        u: (time, nu) or (batch, time, nu) inputs of the stored vectors; None draws standard normal ones.
        name: of the files, and the prefix of every name in them.
        dtype: "float64" (double) or "float32" (float).
        force: whether files of these names may be replaced.
        unchecked: write without compiling, where there is no compiler.

    Returns:
        The files, and how far they are from the model.

    Raises:
        InputError: what `Subject.of` refuses, a nonlinearity without a name, a file that stands there, or no compiler.
        NotCertified: a full D11 whose equation nothing proves to have one solution.
        EqnetsError: the compiler failed, or the code differs from the model.
    """  # noqa: DOC502
    files = (f"{name}.h", f"{name}.c", f"{name}_check.c")
    with staged(folder, files, force) as (stage, paths):
        subject = Subject.of(lfr, certificate, x0, u, name, dtype)
        for path, text in zip(files, (header(subject), source(subject), check(subject)), strict=True):
            (stage / path).write_text(text, encoding="utf-8")
        return Export(paths, _unmeasured(subject) if unchecked else _measure(subject, stage))


def _unmeasured(subject: Subject) -> Agreement:
    return Agreement(None, TOLERANCE[subject.dtype], 0)


def _measure(subject: Subject, stage: Path) -> Agreement:
    """Compile the three files and run them."""
    given = shlex.split(os.environ.get("CC", ""))
    compiler = given or [found for found in map(shutil.which, ("cc", "gcc", "clang")) if found][:1]
    if not compiler:
        raise InputError(
            "no C compiler was found to check the code with; install gcc, name one in the environment variable CC, or "
            f"export with unchecked=True (--unchecked) and run {subject.name}_check.c on the target."
        )
    program = stage / "check"
    sources = [str(stage / f"{subject.name}{ending}.c") for ending in ("", "_check")]
    try:
        build = [*compiler, *_FLAGS, *sources, "-o", str(program), "-lm"]
        subprocess.run(build, check=True, capture_output=True, text=True, timeout=_SECONDS)
        run = subprocess.run([str(program)], check=False, capture_output=True, text=True, timeout=_SECONDS)
        error = float(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as failure:
        words = getattr(failure, "stderr", None) or str(failure)
        raise EqnetsError(
            f"the exported C could not be compiled and run by {compiler[0]} ({' '.join(words.split())[:300]}); name "
            "another compiler in the environment variable CC."
        ) from failure
    return subject.vectors.agreement(error, subject.dtype, "the exported C")
