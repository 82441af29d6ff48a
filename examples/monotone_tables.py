# %% [markdown]
# # The lecture's two tables: which weights have an equilibrium that iteration finds?
#
# The network $z = \tanh(W z + U x + b)$ with $n_z = 10$ neurons and $T = 3$ inputs has exactly one equilibrium for
# every input where $I - W$ is monotone: the smallest eigenvalue of its symmetric part,
# $$\lambda_{\min}\bigl(I - \tfrac12 (W + W^\top)\bigr),$$
# is positive (Winston & Kolter, NeurIPS 2020). We tabulate it beside $\lVert z^{40} - z^\star\rVert$, the distance of
# forty layers to the equilibrium:
#
# 1. for ten draws of `torch.nn.Linear`'s default weights, and for ten standard-normal ones,
# 2. for ten `MonotoneLinear`, where monotonicity holds by construction. Forty layers may still lead nowhere; an
#    operator splitting finds the equilibrium every time, and says how far it is from the true one at most.
#
#     python examples/monotone_tables.py [-o FOLDER]

# %%
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch
from lecture.network import N_Z, T, margin, radius
from record import store
from torch import Tensor

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="The lecture's tables of monotone networks.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
output = parser.parse_args().output

LAYERS, DRAWS = 40, 10
F64 = torch.float64


# %% [markdown]
# One row of a table: the eigenvalue, the spectral radius, and where forty layers end. The equilibrium itself is asked
# of a Newton method where nothing is promised; it may find none.


# %%
def layers(W: Tensor, injected: Tensor) -> Tensor:
    """z^40, from zero."""
    z = torch.zeros(1, N_Z, dtype=F64)
    for _ in range(LAYERS):
        z = torch.tanh(z @ W.T + injected)
    return z


def plain(seed: int, normal: bool) -> dict[str, Any]:
    """A row for weights of no structure."""
    torch.manual_seed(seed)
    W_z, U_z = torch.nn.Linear(N_Z, N_Z, dtype=F64), torch.nn.Linear(T, N_Z, bias=False, dtype=F64)
    if normal:
        torch.nn.init.normal_(W_z.weight)
    x = torch.randn(1, T, dtype=F64)
    W, injected = W_z.weight.detach(), (U_z(x) + W_z.bias).detach()
    start = torch.zeros(1, N_Z, dtype=F64)
    f = lambda z: torch.tanh(z @ W.T + injected)  # noqa: E731
    tight = {"rtol": 1e-12, "atol": 1e-13, "on_failure": "ignore"}
    found = eq.fixed_point(f, start, solver=eq.Newton(), **tight)
    distance = float((layers(W, injected) - found.value).norm()) if bool(found.converged[0]) else None
    return {"margin": margin(W), "radius": radius(W), "root": bool(found.converged[0]), "distance": distance}


def monotone(seed: int) -> dict[str, Any]:
    """A row for a MonotoneDEQ whose parameters are as large as those of the normal draws."""
    generator = torch.Generator().manual_seed(seed)
    deq = eq.MonotoneDEQ(T, N_Z, 1.0, "tanh", generator=generator, dtype=F64, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        for parameter in (deq.linear.A, deq.linear.B):
            parameter.copy_(torch.randn(N_Z, N_Z, generator=generator, dtype=F64))
        x = torch.randn(1, T, generator=generator, dtype=F64)
        solution, W = deq.solve(x), deq.linear.weight()
        z = solution.value
        injected = x @ deq.U.T + deq.b
        return {
            "margin": margin(W), "radius": radius(W), "distance": float((layers(W, injected) - z).norm()),
            "steps": int(solution.steps[0]), "converged": bool(solution.converged[0]),
            "residual": float((z - torch.tanh(z @ W.T + injected)).norm()), "bound": float(solution.bound[0]),
        }  # fmt: skip


# %% [markdown]
# ## The tables

# %%
result = {
    "default": [plain(seed, normal=False) for seed in range(DRAWS)],
    "normal": [plain(seed, normal=True) for seed in range(DRAWS)],
    "monotone": [monotone(seed) for seed in range(DRAWS)],
}
for name, title in (("default", "torch.nn.Linear's weights"), ("normal", "standard-normal weights")):
    print(f"\n{title}\n  λ_min    ρ(W)   ‖z^{LAYERS} − z*‖")
    for row in result[name]:
        distance = f"{row['distance']:.2e}" if row["root"] else "no root found"
        print(f"  {row['margin']:6.2f}  {row['radius']:6.2f}   {distance}")
print(f"\nMonotoneLinear, m = 1\n  λ_min    ρ(W)   ‖z^{LAYERS} − z*‖   splitting: steps, residual, ‖z − z*‖ at most")
for row in result["monotone"]:
    print(
        f"  {row['margin']:6.2f}  {row['radius']:6.2f}   {row['distance']:.2e}       "
        f"{row['steps']:3d}, {row['residual']:.1e}, {row['bound']:.1e}"
    )

# %% [markdown]
# The default weights are monotone here, and they contract: depth is as good as the equilibrium. The normal ones are far
# from monotone; iteration leads nowhere, and a root, where there is one, need not be the only one. The monotone weights
# have spectral radii ten times those of the normal ones, and forty layers miss their equilibrium just as badly, but it
# is the only one, and Peaceman–Rachford finds it, within some tens of steps, to what the bound says.

# %%
stored = store("monotone_tables", {"layers": LAYERS, **result}, output)
figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
for name, label, colour in (
    ("default", "torch.nn.Linear", "C0"), ("normal", "standard normal", "C3"), ("monotone", "MonotoneLinear", "C2"),
):  # fmt: skip
    rows = [row for row in result[name] if row["distance"] is not None]
    axes.semilogy(
        [r["margin"] for r in rows], [r["distance"] for r in rows], "o", color=colour, label=f"{label}, layers"
    )
axes.semilogy(
    [r["margin"] for r in result["monotone"]], [r["bound"] for r in result["monotone"]], "^", color="C2",
    fillstyle="none", label="MonotoneLinear, splitting (bound)",
)  # fmt: skip
axes.axvline(0, color="0.5", linewidth=0.8)
axes.set(
    xlabel="smallest eigenvalue of the symmetric part of I − W", ylabel="distance to the equilibrium",
    title=f"What {LAYERS} layers reach, and what a splitting reaches",
)  # fmt: skip
axes.grid(alpha=0.3)
axes.legend(fontsize=8)
if stored:
    figure.savefig(stored.with_suffix(".png"), dpi=110)
    print(f"\nwritten: {stored.name} and its plot in {stored.parent.name}/")
