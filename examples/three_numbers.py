# %% [markdown]
# # Three numbers instead of one: attained, best slope pattern, certified
#
# A certified gain U alone does not say whether the model is that sensitive, or the proof that crude. Beside it we put
# L1, what a pair of inputs of this very model attains, and L2, what the best frozen slopes attain. Whatever the truth
# is, it lies between L1 and U, and no certificate that knows slopes alone can go below L2. Shown for
#
# 1. the lecture's network of ten neurons, `torch.nn.Linear`'s default weights and standard-normal ones,
# 2. ten random networks, static and recurrent,
# 3. a monotone network trained on MNIST, with the radius in which no digit can change its class,
# 4. Lipschitz RENs identified from the F16 ground vibration test, for several prescribed gains.
#
#     EQNETS_DATA=… python examples/three_numbers.py [-o FOLDER] [--parts P …] [--network FILE] [--minutes M]
#
# `--network` is a checkpoint of `monotone_mnist.py`; without it a network is trained here, for one epoch. Parts whose
# data are not there are left out. `EQNETS_SMOKE=1` shrinks everything.

# %%
from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import scipy.io
import torch
from checkpoint import take_up
from datasets import mnist
from lecture.network import Cell
from record import RESULTS, SMOKE, store
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

PARTS = ["lecture", "random", "mnist", "f16"]
parser = argparse.ArgumentParser(description="Attained, best slope pattern and certified, beside each other.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS, help="the rest is read from the stored file")
parser.add_argument("--network", type=Path, help="a checkpoint of examples/monotone_mnist.py")
parser.add_argument("--minutes", type=float, default=1.0, help="of training, for each F16 model")
options = parser.parse_args()
torch.set_num_threads(1)

F64 = torch.float64
DATA = os.environ.get("EQNETS_DATA")
ATTACK: dict[str, Any] = {"steps": 20, "tries": 4} if SMOKE else {"steps": 300, "tries": 16}


def row(lfr: eq.LFR, claim: eq.Lipschitz, horizon: int = 40, **more: Any) -> dict[str, Any]:
    """The three numbers of a gain, and how long they took."""
    began = time.perf_counter()
    found = eq.three_numbers(claim, lfr, time=horizon, **ATTACK, **more)
    return {
        "nx": lfr.nx, "nv": lfr.nv, "attained": found.attained, "pattern": found.pattern,
        "certified": found.certified, "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


# %% [markdown]
# ## The lecture's network
# Where multipliers are found, the equilibrium is unique and has a gain; with normal weights none are, and no gain is
# claimed.


# %%
def lecture(normal: bool) -> list[dict[str, Any]]:
    """Ten draws of the lecture's network, from x to z."""
    rows = []
    for seed in range(2 if SMOKE else 10):
        cell = Cell(seed, normal)
        lfr = eq.LFR(D11=cell.W_z.weight.detach(), D12=cell.U_z.weight.detach(), bv=cell.W_z.bias.detach(),
                     D21=torch.eye(10, dtype=F64), D22=torch.zeros(10, 3, dtype=F64), activation="tanh")  # fmt: skip
        try:
            rows.append({"seed": seed, **row(lfr, eq.Lipschitz(1.0))})
        except eq.NotCertified as error:
            rows.append({"seed": seed, "refused": str(error)})
    return rows


# %% [markdown]
# ## Random networks: entries normal, A, B1, C1 and D11 of a given spectral norm


# %%
def random_networks() -> list[dict[str, Any]]:
    """Five static and five recurrent networks."""
    sizes = [(0, 20, 0.9), (0, 40, 0.9), (0, 60, 0.9), (0, 80, 0.9), (0, 100, 0.9),
             (2, 10, 0.5), (5, 10, 0.5), (5, 20, 0.5), (10, 20, 0.5), (10, 40, 0.5)]  # fmt: skip
    rows = []
    for seed, (nx, nv, norm) in enumerate([(0, 6, 0.9), (2, 4, 0.5)] if SMOKE else sizes):
        g = torch.Generator().manual_seed(seed)
        shapes = {"A": (nx, nx), "B1": (nx, nv), "C1": (nv, nx), "D11": (nv, nv), "B2": (nx, 3), "D12": (nv, 3),
                  "C2": (2, nx), "D21": (2, nv), "D22": (2, 3)}  # fmt: skip
        blocks = {name: torch.randn(shape, generator=g, dtype=F64) for name, shape in shapes.items()}
        for name in ("A", "B1", "C1", "D11"):
            if blocks[name].numel():
                blocks[name] *= norm / torch.linalg.matrix_norm(blocks[name], 2)
        rows.append(row(eq.LFR(**blocks), eq.Lipschitz(1.0)))
    return rows


# %% [markdown]
# ## A monotone network that reads digits
# Gains are between standardised images (a pixel of one standard deviation is 0.3081 of black to white) and scores. A
# digit keeps its class within min (y_c − y_j)/γ_cj, which we state in pixels from 0 to 1. The program stops its solver
# at a tolerance: where it refuses runs with a larger error bar than the largest one here, that bar is taken off.

# %%
DEVIATION = 0.3081


class Digits(nn.Module):
    """The network of monotone_mnist.py: 87 neurons, and a linear readout."""

    def __init__(self, pixels: int, neurons: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.deq = eq.MonotoneDEQ(pixels, neurons, m=1.0, rtol=1e-2, atol=1e-3, generator=generator)
        self.readout = nn.Linear(neurons, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.deq(x))

    def explicit(self) -> eq.LFR:
        """From the image to the scores."""
        readout = eq.LFR(D22=self.readout.weight.detach().to(F64), by=self.readout.bias.detach().to(F64))
        return eq.series(self.deq.explicit().detach(), readout)


def flat(part: str) -> tuple[Tensor, Tensor]:
    """Images as rows, coarse in a smoke run."""
    images, labels = mnist(part)
    images = avg_pool2d(images[:1000], 4) if SMOKE else images
    return images.flatten(1), labels[: len(images)]


def trained(x: Tensor, labels: Tensor) -> tuple[Digits, int]:
    """The checkpoint, or one epoch of training; and how many epochs it was."""
    torch.manual_seed(0)
    network = Digits(x.shape[1], 8 if SMOKE else 87)
    if options.network:
        return network, len(take_up(options.network, network))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for batch in torch.randperm(len(x)).split(128):
        optimiser.zero_grad()
        cross_entropy(network(x[batch]), labels[batch]).backward()
        optimiser.step()
    return network, 1


def digits() -> dict[str, Any]:
    """Three numbers of the scores, and accuracies that are certified at several radii."""
    network, epochs = trained(*flat("train"))
    lfr, (x, labels) = network.explicit(), flat("t10k")
    numbers = row(lfr, eq.Lipschitz(1.0))
    bar = eq.error_bar(lfr, proof="float64")
    solved = [eq.MonotoneDEQ.solve(network.deq, part) for part in x.split(1000)]
    epsilon = torch.cat([bar(solution, part.to(F64)) for solution, part in zip(solved, x.split(1000), strict=True)])
    y = torch.cat([network.readout(solution.value).detach() for solution in solved]).to(F64)
    right, margins = y.argmax(1) == labels, eq.class_margins(lfr, proof="float64")
    worst = float(margins.gamma.max())
    ordered = y.sort(1).values
    radii = {
        "by margins": DEVIATION * margins.radius(y),
        "by margins, less the largest error bar": DEVIATION * margins.radius(y, float(epsilon.max())),
        "by the root of 2 and gamma": DEVIATION * (ordered[:, -1] - ordered[:, -2]) / (2**0.5 * numbers["certified"]),
    }
    at = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5]
    return {
        **numbers, "epochs": epochs, "test_accuracy": float(right.double().mean()), "largest_margin_gain": worst,
        "smallest_margin_gain": float(margins.gamma[margins.gamma > 0].min()), "kappa": bar.kappa,
        "largest_error_bar": float(epsilon.max()), "median_error_bar": float(epsilon.median()), "radii": at,
        "certified_accuracy": {
            name: [float((right & (radius > r)).double().mean()) for r in at] for name, radius in radii.items()
        },
    }  # fmt: skip


# %% [markdown]
# ## F16: a prescribed gain, in the ratio of typical sizes of outputs and inputs


# %%
def f16() -> list[dict[str, Any]]:
    """Lipschitz RENs with three prescribed gains, from short pieces of the odd levels."""
    length = 2000 if SMOKE else 16384
    records = []
    for level in (3, 5):
        mat = scipy.io.loadmat(Path(str(DATA)) / "f16" / f"F16Data_FullMSine_Level{level}.mat")
        u = np.stack([mat["Force"].ravel(), mat["Voltage"].ravel()], 1)[:length]
        records.append((u, np.atleast_2d(mat["Acceleration"]).reshape(3, -1).T[:length]))
    u_scale, y_scale = (tuple(np.concatenate([r[i] for r in records]).std(0).tolist()) for i in (0, 1))
    budget: dict[str, Any] = {"steps": 3} if SMOKE else {"minutes": options.minutes}
    rows = []
    for gamma in (10.0,) if SMOKE else (3.0, 10.0, 30.0):
        claim = eq.Lipschitz(gamma, u_scale, y_scale)
        fit = eq.identify(records, claim, dt=1 / 400, nx=2 if SMOKE else 8, nv=4 if SMOKE else 16, **budget)
        rows.append({"prescribed": gamma, **row(fit.lfr, claim, 20 if SMOKE else 300, witness=fit.certificate.witness)})
    return rows


# %%
folder = options.output or (None if SMOKE else RESULTS)
stored = folder / "three_numbers.json" if folder else None
result: dict[str, Any] = {}
if stored and stored.is_file() and options.parts != PARTS:
    known = json.loads(stored.read_text(encoding="utf-8"))
    result = {kind: rows for kind, rows in known.items() if kind not in ("environment", "smoke")}
if "lecture" in options.parts:
    result["lecture, default"], result["lecture, normal"] = lecture(False), lecture(True)
if "random" in options.parts:
    result["random"] = random_networks()
if DATA and "mnist" in options.parts:
    result["mnist"] = digits()
if DATA and "f16" in options.parts:
    result["f16"] = f16()

# %% [markdown]
# ## All of them, each divided by what is certified

# %%
shown = []
for kind in ("lecture, default", "random", "mnist", "f16"):
    rows = result.get(kind, [])
    shown += [(kind, i, r) for i, r in enumerate(rows if isinstance(rows, list) else [rows]) if "certified" in r]
figure, axes = plt.subplots(figsize=(7, 0.5 + 0.2 * len(shown)), layout="constrained")
for height, (_, _, r) in enumerate(shown):
    axes.plot([r["attained"] / r["certified"], 1], [height, height], color="0.7", zorder=1)
for mark, name in (("o", "attained"), ("|", "pattern"), ("s", "certified")):
    label = {"attained": "L1 attained", "pattern": "L2 best slope pattern", "certified": "U certified"}[name]
    axes.scatter([r[name] / r["certified"] for *_, r in shown], range(len(shown)), marker=mark, label=label, zorder=2)
axes.set_yticks(range(len(shown)), [f"{kind} {i + 1} (nx {r['nx']}, nv {r['nv']})" for kind, i, r in shown], fontsize=7)
axes.set_xlabel("gain, divided by the certified one")
axes.set_ylim(len(shown) - 0.5, -0.5)
axes.set_xlim(0, 1.05)
axes.legend(loc="lower left", fontsize=8)
axes.grid(axis="x", alpha=0.3)

store("three_numbers", result, options.output)
if folder:
    figure.savefig(folder / "three_numbers.png", dpi=150)
