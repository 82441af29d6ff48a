"""The C99 text of a model: header, source, and the program that compares them with stored vectors.

C has no arrays of length zero: a vector without entries is given one that no loop reaches.
"""

from __future__ import annotations

import numpy as np

from eqnets.interop.formulas import in_c, kinds
from eqnets.interop.subject import Subject
from eqnets.interop.vectors import TOLERANCE


def header(subject: Subject) -> str:
    """NAME.h: what the model is, its sizes, its state and its two functions."""
    name, lfr, real = subject.name, subject.lfr, _real(subject)
    about = "\n".join(f" * {line}".rstrip().replace("*/", "* /") for line in subject.lines())
    guard = f"{name.upper()}_H"
    return f"""/*
{about}
 *
 *   {name}_state s;  {name}_init(&s);
 *   for every sample:  {name}_step(&s, u, y);
 *
 * y answers to u and to the state before the step. u and y must not overlap. Nothing is shared between states.
 */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

enum {{ {name}_nx = {lfr.nx}, {name}_nu = {lfr.nu}, {name}_ny = {lfr.ny}, {name}_nv = {lfr.nv} }};
#define {name}_dt {lfr.dt!r} /* seconds */

typedef struct {{
    {real} x[{max(lfr.nx, 1)}];
}} {name}_state;

void {name}_init({name}_state *s);
void {name}_step({name}_state *s, const {real} *u, {real} *y);

#ifdef __cplusplus
}}
#endif

#endif /* {guard} */
"""


def source(subject: Subject) -> str:
    """NAME.c: static arrays, and a step that allocates nothing and always does the same work."""
    lfr, neurons, name, real = subject.lfr, subject.neurons, subject.name, _real(subject)
    blocks = {block: value.numpy() for block, value in lfr.blocks().items() if block != "D11"}
    if neurons.exact:
        blocks["D11"] = neurons.C
    else:
        blocks |= {"C": neurons.C, "K": neurons.K, "p": neurons.p, "t": neurons.t}
    blocks = {block: value for block, value in blocks.items() if block in "CKpt" or value.any()}  # zero is left out

    def affine(out: str, size: int, bias: str, *terms: tuple[str, str, int]) -> str:
        lines = [f"    for (i = 0; i < {size}; i++) {out}[i] = {f'{bias}[i]' if bias in blocks else '0'};"]
        lines += [f"    add({size}, {n}, {block}, {signal}, {out});" for block, signal, n in terms if block in blocks]
        return "\n".join(lines)

    nx, nu, nv, ny = lfr.nx, lfr.nu, lfr.nv, lfr.ny
    scratch = ("v", "w") if neurons.exact else ("v", "w", "r", "z", "d")
    arrays = "\n".join(_array(block, value, real) for block, value in {**blocks, "x0": subject.vectors.x0}.items())
    return f"""/* {name}.c: see {name}.h. Matrices are stored row by row. */
#include "{name}.h"
#include <math.h>

{arrays}

/* out += M x */
static void add(int rows, int columns, const {real} *M, const {real} *x, {real} *out)
{{
    int i, j;
    for (i = 0; i < rows; i++)
        for (j = 0; j < columns; j++) out[i] += M[i * columns + j] * x[j];
}}

{_phi(subject)}
void {name}_init({name}_state *s)
{{
    int i;
    for (i = 0; i < {max(nx, 1)}; i++) s->x[i] = x0[i];
}}

void {name}_step({name}_state *s, const {real} *u, {real} *y)
{{
    {real} {", ".join(f"{each}[{max(nv, 1)}]" for each in scratch)}, next[{max(nx, 1)}];
    int i, k;
    (void)u; (void)y; (void)k; (void)v; (void)w; (void)next; (void)add;

{affine("v", nv, "bv", ("C1", "s->x", nx), ("D12", "u", nu))}
{_substitution(nv, "D11" in blocks) if neurons.exact else _iteration(nv, neurons.steps)}
{affine("y", ny, "by", ("C2", "s->x", nx), ("D21", "w", nv), ("D22", "u", nu))}
{affine("next", nx, "bx", ("A", "s->x", nx), ("B1", "w", nv), ("B2", "u", nu))}
    for (i = 0; i < {nx}; i++) s->x[i] = next[i];
}}
"""


def check(subject: Subject) -> str:
    """NAME_check.c: prints the largest difference as a share of full scale; returns 0 within the tolerance."""
    name, real, vectors, lfr = subject.name, _real(subject), subject.vectors, subject.lfr
    records, samples = vectors.u.shape[:2]
    scale_y, scale_x = vectors.scales()
    data = {"u": vectors.u, "y": vectors.y, "x_last": vectors.x_last, "scale_y": scale_y, "scale_x": scale_x}
    arrays = "\n".join(_array(each, value, "double") for each, value in data.items())
    return f"""/* Compares {name}.c with the model that it was exported from, on stored vectors: prints the largest
   difference as a share of full scale, and returns 0 where that is within {TOLERANCE[subject.dtype]!r}.

       cc -std=c99 -O2 {name}.c {name}_check.c -o check -lm && ./check */
#include "{name}.h"
#include <math.h>
#include <stdio.h>

{arrays}

static double worst = 0.0;

static void note(double error)
{{
    if (!(error <= worst)) worst = error; /* also what is not a number */
}}

int main(void)
{{
    {name}_state s;
    {real} input[{max(lfr.nu, 1)}] = {{0}}, output[{max(lfr.ny, 1)}] = {{0}};
    int b, n, i;
    for (b = 0; b < {records}; b++) {{
        {name}_init(&s);
        for (n = b * {samples}; n < (b + 1) * {samples}; n++) {{
            for (i = 0; i < {lfr.nu}; i++) input[i] = ({real})u[n * {lfr.nu} + i];
            {name}_step(&s, input, output);
            for (i = 0; i < {lfr.ny}; i++) note(fabs(output[i] - y[n * {lfr.ny} + i]) / scale_y[i]);
        }}
        for (i = 0; i < {lfr.nx}; i++) note(fabs(s.x[i] - x_last[b * {lfr.nx} + i]) / scale_x[i]);
    }}
    printf("%.17g\\n", worst);
    return !(worst <= {TOLERANCE[subject.dtype]!r});
}}
"""


def _substitution(nv: int, coupled: bool) -> str:
    row = f"\n        for (k = 0; k < i; k++) v[i] += D11[i * {nv} + k] * w[k];" if coupled else ""
    return f"""    for (i = 0; i < {nv}; i++) {{ /* D11 is strictly lower triangular */{row}
        w[i] = phi(i, v[i]);
    }}"""


def _iteration(nv: int, steps: int) -> str:
    return f"""    for (i = 0; i < {nv}; i++) d[i] = 0;
    add({nv}, {nv}, K, v, d);
    for (i = 0; i < {nv}; i++) r[i] = d[i];
    for (k = 0; k < {steps}; k++) {{ /* Peaceman-Rachford: the header says how far it comes */
        for (i = 0; i < {nv}; i++) z[i] = p[i] * phi(i, r[i]) - t[i] * r[i];
        for (i = 0; i < {nv}; i++) r[i] = d[i];
        add({nv}, {nv}, C, z, r);
    }}
    for (i = 0; i < {nv}; i++) w[i] = phi(i, r[i]);"""


def _phi(subject: Subject) -> str:
    groups, real = kinds(subject.lfr.activation, subject.lfr.nv), _real(subject)
    cases = "\n".join(f"    case {k}: return {in_c(name, subject.dtype)};" for k, name in enumerate(groups))
    code = {i: k for k, members in enumerate(groups.values()) for i in members}
    if not code:
        return f"static {real} phi(int i, {real} v) {{ (void)i; return v; }}\n"
    if len(groups) == 1:
        value = in_c(next(iter(groups)), subject.dtype)
        return f"static {real} phi(int i, {real} v) {{ (void)i; return {value}; }}\n"
    return f"""static const unsigned char kind[{len(code)}] = {{{", ".join(str(code[i]) for i in sorted(code))}}};

static {real} phi(int i, {real} v)
{{
    switch (kind[i]) {{
{cases}
    default: return v;
    }}
}}
"""


def _real(subject: Subject) -> str:
    return "double" if subject.dtype == "float64" else "float"


def _number(value: float, real: str) -> str:
    """A literal that reads back as the same bits."""
    if real == "double":
        return repr(float(value))
    text = str(np.float32(value))
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _array(name: str, values: np.ndarray, real: str) -> str:
    flat = [_number(value, real) for value in (values.ravel() if values.size else np.zeros(1))]
    rows = ",\n    ".join(", ".join(flat[i : i + 6]) for i in range(0, len(flat), 6))
    return f"static const {real} {name}[{len(flat)}] = {{\n    {rows}\n}};"
