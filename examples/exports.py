# %% [markdown]
# # How equal is an export to the model?
#
# Every export is run on stored vectors before it is handed out: C is compiled, ONNX goes through onnxruntime, the
# python-control file is executed, the `.mat` file is read back and stepped (by Python; MATLAB was not run). What is
# shown is the largest difference from the model over all outputs and states, as a share of the largest value of each,
# for a network whose neurons follow one from the other (an acyclic D11) and for one that solves for them (a full D11,
# at the fixed number of steps that its certificate allows).
#
#     python examples/exports.py [-o FOLDER]
#
# It needs the extras `control`, `export` and `examples`, and a C compiler. `EQNETS_SMOKE=1` stores nothing.

# %%
from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import matplotlib
import torch
from record import SMOKE, store

import eqnets as eq
from eqnets import interop

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="How equal each export is to the model.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
options = parser.parse_args()

SAMPLES = 20 if SMOKE else 200
ROUNDING = {"float64": 2.0**-52, "float32": 2.0**-23}

# %% [markdown]
# ## The models and the inputs
# Two contracting networks of five states and twelve neurons, with their certificates; seeded inputs.


# %%
def network(acyclic: bool) -> tuple[eq.LFR, eq.Certificate]:
    """A contracting network and its certificate."""
    generator = torch.Generator().manual_seed(0)
    ren = eq.ContractingREN(2, 5, 12, 2, rate=0.95, acyclic=acyclic, generator=generator, dtype=torch.float64)
    lfr = ren.explicit().detach()
    return lfr, eq.certify(eq.Contracting(0.95), lfr, ren.witness())


u = torch.randn(2, SAMPLES, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

# %% [markdown]
# ## The exports
# Each function raises where the difference is larger than its format allows; here is how large it is.


# %%
def of_program(lfr: eq.LFR, certificate: eq.Certificate, dtype: str) -> float:
    """The step of `torch.export`, rolled out here as its user would."""
    step = interop.to_program(lfr, certificate=certificate, u=u, dtype=dtype).module()
    x, outputs = torch.zeros(len(u), lfr.nx, dtype=getattr(torch, dtype)), []
    with torch.no_grad():
        for u_t in u.to(x.dtype).unbind(1):
            y_t, x = step(u_t, x)
            outputs.append(y_t)
        y, x_last = eq.simulate(lfr, u)
    pairs = ((torch.stack(outputs, 1), y), (x, x_last))
    return max(float(((a - b).abs().flatten(0, -2).amax(0) / b.abs().flatten(0, -2).amax(0)).max()) for a, b in pairs)


def errors(lfr: eq.LFR, certificate: eq.Certificate) -> dict[str, float | None]:
    """The difference of every export."""
    found: dict[str, float | None] = {}
    given: dict[str, Any] = {"certificate": certificate, "u": u}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ROUNDING:
            found[f"C99, {dtype}"] = interop.to_c(
                lfr, Path(folder) / f"c_{dtype}", dtype=dtype, **given
            ).agreement.error
            onnx = interop.to_onnx(lfr, Path(folder) / f"onnx_{dtype}", dtype=dtype, **given)
            found[f"ONNX, {dtype}"] = onnx.agreement.error
            found[f"torch.export, {dtype}"] = of_program(lfr, certificate, dtype)
        found["MATLAB, float64"] = interop.to_mat(lfr, Path(folder) / "mat", **given).agreement.error
        found["python-control, float64"] = interop.to_control(lfr, Path(folder) / "control", **given).agreement.error
    return found


result = {"samples": SAMPLES, "acyclic": errors(*network(True)), "full": errors(*network(False))}
print("export                     acyclic D11   full D11")
for name, error in result["acyclic"].items():
    print(f"{name:25s}  {error:11.1e}   {result['full'][name]:8.1e}")

# %% [markdown]
# ## The picture

# %%
names = sorted(result["acyclic"], key=lambda name: name.split(", ")[1])
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
for offset, kind, colour in ((0.18, "acyclic", "C0"), (-0.18, "full", "C1")):
    values = [result[kind][name] for name in names]
    bars = axes.barh([i + offset for i in range(len(names))], values, height=0.32, color=colour, label=f"{kind} D11")
    axes.bar_label(bars, [f"{value:.0e}" for value in values], padding=3, fontsize=8)
for dtype, unit in ROUNDING.items():
    axes.axvline(unit, color="0.5", linestyle=":", linewidth=1)
    axes.text(1.2 * unit, len(names) - 0.45, f"rounding unit of {dtype}", fontsize=8, va="center", color="0.4")
axes.set_yticks(range(len(names)), names)
axes.set(xscale="log", xlim=(1e-17, 1e-4), ylim=(-0.5, len(names) - 0.1))
axes.set_xlabel("largest difference from the model, share of full scale")
axes.legend(fontsize=8, loc="center right")

stored = store("exports", result, options.output)
if stored:
    figure.savefig(stored.with_suffix(".png"), dpi=100)
    print(f"written: {stored.name} and its plot in {stored.parent.name}/")
