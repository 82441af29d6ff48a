"""Certificates measured: mutated files beside an oracle, the search beside an outside solver, time of proof and check.

    python benchmarks/certificates.py [--smoke] [--mutants N] [--forged N] [--only SECTION ...] [-o FILE.json]

Times are CPU times of one thread. The sizes are those of the acceptance list: static networks, recurrent ones, and a
model of the F16's size from its witness, checked by the standard-library checker from its file.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from around_oracle import cases_around, is_true_around
from certificate_mutations import Case, cases, forged, is_true, mutants, stale

import eqnets as eq
import eqnets_verify
from eqnets.certification import semidefinite
from eqnets.certification.inequality import Rows
from eqnets.certification.labels import Labels

try:
    import cvxpy
except ModuleNotFoundError:
    cvxpy = None

F64 = torch.float64
STATIC = [100, 200, 400, 800]
RECURRENT = [(20, 40), (20, 200), (50, 100)]
SECTIONS = ["checked", "searched", "oracle", "mutated", "forged", "forged around one equilibrium"]


def network(seed: int, nu: int, nx: int, nv: int, ny: int, size: float) -> eq.LFR:
    """Normal entries; A, B1, C1, D11 of spectral norm `size`."""
    g = torch.Generator().manual_seed(seed)
    shapes = {"A": (nx, nx), "B1": (nx, nv), "B2": (nx, nu), "C1": (nv, nx), "D11": (nv, nv), "D12": (nv, nu),
              "C2": (ny, nx), "D21": (ny, nv), "D22": (ny, nu)}  # fmt: skip
    blocks = {k: torch.randn(s, generator=g, dtype=F64) for k, s in shapes.items()}
    for k in ("A", "B1", "C1", "D11"):
        if blocks[k].numel():
            blocks[k] = size * blocks[k] / float(torch.linalg.matrix_norm(blocks[k], 2))
    return eq.LFR(**blocks)


def remember_sectors() -> None:
    """Keep what the checker knows of sines and sectors, pure functions of their arguments: most mutants share them."""
    module = sys.modules["eqnets_verify.around"]
    for name in ("_series", "_known"):
        setattr(module, name, functools.lru_cache(100_000)(getattr(module, name)))


def judged(changed: Iterable[tuple[str, Case]], is_true: Callable[..., bool]) -> dict[str, int]:
    """How many changed certificates with right hashes are accepted, and how many of those the oracle refutes."""
    found = {"mutants": 0, "rejected": 0, "accepted": 0, "accepted, proved anew": 0, "accepted and false": 0}
    for said, (document, blocks, labels) in changed:
        found["mutants"] += 1
        try:
            eqnets_verify.check(document, blocks, labels)
        except eqnets_verify.Rejected:
            found["rejected"] += 1
            continue
        found["accepted"] += 1
        found["accepted, proved anew"] += said.endswith("proved anew")
        found["accepted and false"] += not (is_true(document, blocks) and document["labels"] == labels)
    return found


def portions(originals: list[Case], count: int) -> Iterator[tuple[str, Case]]:
    """Mutants of forgers, a thousand by each of the seeds from 0 on."""
    for seed in range(-(-count // 1000)):
        yield from forged(originals, min(count, 1000), seed)


def outdated(originals: list[Case], count: int) -> dict[str, int]:
    """How many changed models are accepted with the hash of the old one."""
    found = {"mutants": 0, "accepted": 0}
    for document, blocks, labels in stale(originals, count, seed=1):
        found["mutants"] += 1
        try:
            eqnets_verify.check(document, blocks, labels)
            found["accepted"] += 1
        except eqnets_verify.Rejected:
            pass
    return found


def pairs(count: int, changes: Callable[..., Iterator[tuple[str, Case]]]) -> dict[str, Any]:
    """Both, of claims about pairs of trajectories."""
    originals = cases()
    return {
        "hash made right": judged(changes(originals, count), is_true),
        "stale hash": outdated(originals, count // 10),
    }


def around(count: int) -> dict[str, Any]:
    """Both, of claims around one equilibrium."""
    originals, changed = cases_around(), portions(cases_around(), count)
    return {"hash made right": judged(changed, is_true_around), "stale hash": outdated(originals, count // 10)}


def clarabel(lfr: eq.LFR, solver: str = "CLARABEL") -> float:
    """The smallest γ of (★) for slopes in [0, 1] in discrete time, by cvxpy and Clarabel, or SCS."""
    b = {k: v.numpy() for k, v in lfr.blocks().items()}
    nx, nv, nu = lfr.nx, lfr.nv, lfr.nu
    lam, g2 = cvxpy.Variable(nv, nonneg=True), cvxpy.Variable()
    E = np.eye(nx + nv + nu)
    x, w, u = E[:nx], E[nx : nx + nv], E[nx + nv :]
    Lz, Ly = (np.hstack([b[k] for k in names]) for names in (("C1", "D11", "D12"), ("C2", "D21", "D22")))
    M = (
        g2 * (u.T @ u)
        - Ly.T @ Ly
        + 2 * w.T @ cvxpy.diag(lam) @ w
        - Lz.T @ cvxpy.diag(lam) @ w
        - w.T @ cvxpy.diag(lam) @ Lz
    )
    if nx:
        P, after = cvxpy.Variable((nx, nx), symmetric=True), np.hstack([b["A"], b["B1"], b["B2"]])
        M = M + x.T @ P @ x - after.T @ P @ after
    exact = {"tol_gap_abs": 1e-9, "tol_gap_rel": 1e-9, "tol_feas": 1e-9} if solver == "CLARABEL" else {"eps": 1e-7}
    cvxpy.Problem(cvxpy.Minimize(g2), [(M + M.T) / 2 >> 0]).solve(solver=solver, **exact)
    return math.sqrt(float(g2.value))


def gamma_of(lfr: eq.LFR) -> float:
    """The smallest gain that the interior point of the library finds."""
    return semidefinite.smallest_gain(Rows.of(lfr), eq.Lipschitz(1.0), Labels.of(lfr))[0]


def oracle(count: int) -> dict[str, Any]:
    """The largest relative difference from the outside optimum over random problems."""
    rng, differences = random.Random(0), []
    for seed in range(count):
        sizes = rng.randint(1, 4), rng.choice((0, 1, 2, 3, 4)), rng.randint(1, 8), rng.randint(1, 4)
        lfr = network(seed, *sizes, rng.uniform(0.2, 0.5))
        differences.append(abs(gamma_of(lfr) / clarabel(lfr) - 1))
    return {"problems": count, "largest relative difference": max(differences), "median": float(np.median(differences))}


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of one call, and what it gives."""
    began = time.process_time()
    result = run()
    return round(time.process_time() - began, 3), result


def searched(static: list[int], recurrent: list[tuple[int, int]], with_oracle: int) -> list[dict[str, Any]]:
    """Time of the search, of the exact proof that follows, and of the outside solver where it is small enough."""
    rows = []
    for nx, nv in [*((0, q) for q in static), *recurrent]:
        lfr = network(0, 10 if nx == 0 else 2, nx, nv, 5 if nx == 0 else 2, 0.9 if nx == 0 else 0.55)
        search, gamma = seconds(lambda lfr=lfr: gamma_of(lfr))
        whole, cert = seconds(lambda lfr=lfr: eq.tighten(eq.Lipschitz(1.0), lfr))
        row = {"nx": nx, "nv": nv, "gamma": gamma, "search_s": search, "proved": cert.claim.gamma, "whole_s": whole}
        if cvxpy is not None and nx + nv <= with_oracle:
            row["clarabel_s"], row["clarabel_gamma"] = seconds(lambda lfr=lfr: clarabel(lfr))
        rows.append(row)
    return rows


def checked(sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Models by construction: time of the exact proof from the witness, and of the checker from the file alone."""
    rows = []
    for nx, nv in sizes:
        g = torch.Generator().manual_seed(0)
        model = eq.ContractingREN(2, nx, nv, 3, rate=0.99, generator=g, dtype=F64)
        lfr, witness = model.explicit().detach().to(torch.float32), model.witness()
        prove, cert = seconds(lambda lfr=lfr, witness=witness: eq.certify(eq.Contracting(0.99), lfr, witness))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.cert.json"
            cert.save(path)
            check, _ = seconds(lambda path=path: eqnets_verify.verify(path))
            rows.append(
                {"nx": nx, "nv": nv, "prove_s": prove, "check_s": check, "file_kB": path.stat().st_size // 1000}
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few of everything")
    parser.add_argument("--mutants", type=int, default=100_000, help="changed certificates of pairs of trajectories")
    parser.add_argument("--forged", type=int, default=20_000, help="those with proofs made anew, of either kind")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="measure these, and keep the rest of the file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    remember_sectors()
    smoke = options.smoke
    if smoke:
        options.mutants = options.forged = 500
    result: dict[str, Any] = {}
    if options.only and options.output and options.output.exists():
        result = json.loads(options.output.read_text(encoding="utf-8"))
    result["environment"] = {
        "python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()
    }  # fmt: skip
    measure: dict[str, Callable[[], Any]] = {
        "checked": lambda: checked([(5, 10)] if smoke else [(5, 10), (20, 60), (75, 150)]),
        "searched": lambda: searched([20], [(3, 6)], 30) if smoke else searched(STATIC, RECURRENT, 60),
        "oracle": lambda: oracle(3 if smoke else 50),
        "mutated": lambda: pairs(options.mutants, functools.partial(mutants, seed=0)),
        "forged": lambda: pairs(options.forged, portions),
        "forged around one equilibrium": lambda: around(options.forged),
    }
    for name in options.only or SECTIONS:
        if name != "oracle" or cvxpy is not None:
            result[name] = measure[name]()
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
