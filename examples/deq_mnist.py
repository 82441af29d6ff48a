# %% [markdown]
# # A deep equilibrium network that reads digits, beside its explicit twin
#
# One convolutional cell, two networks. The **equilibrium** network asks for $z^\star = f_\theta(z^\star, x)$; its
# explicit **twin** applies the same cell, with the same parameters, $L$ times. Both get the same digits in the same
# order. We compare test accuracy, the time for an epoch, and the memory that a forward pass leaves for the backward
# pass: it grows with $L$ in the twin, and does not depend on steps or tolerance in the equilibrium network.
#
#     EQNETS_DATA=… python examples/deq_mnist.py [-o FOLDER] [--epochs N] [--threads N]
#
# `EQNETS_SMOKE=1` shrinks everything. An interrupted run stores what it has.

# %%
from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib
import torch
from datasets import mnist
from record import SMOKE, saved_bytes, store
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from tqdm import tqdm

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="A deep equilibrium network on MNIST, beside its explicit twin.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
parser.add_argument("--epochs", type=int, default=1 if SMOKE else 2)
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
options = parser.parse_args()
torch.set_num_threads(options.threads)

CHANNELS, SIDE = 32, 7
SHAPE = (CHANNELS, SIDE, SIDE)
BATCH = 128
DEPTHS = [1, 4] if SMOKE else [1, 2, 4, 8, 16]
TRAIN = {"rtol": 1e-2, "atol": 1e-3, "max_steps": 40}  # a gradient of a mini-batch is noisier than this
TEST = {"rtol": 1e-3, "atol": 1e-4, "max_steps": 100}


# %% [markdown]
# ## The cell
# A residual block with its input injected, as in multiscale DEQs (Bai, Koltun & Kolter, NeurIPS 2020), at one scale:
# two convolutions, group normalisation (a batch normalisation would mix the samples and change during the solve). Small
# first weights let it contract at the start; nothing forces it to later, so we count how many solves converge.


# %%
class Cell(nn.Module):
    """z, x ↦ norm(relu(z + norm(x + W₂ norm(relu(W₁ z)))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.W1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.W2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1, self.norm2, self.norm3 = (nn.GroupNorm(8, channels) for _ in range(3))
        for W in (self.W1, self.W2):
            nn.init.normal_(W.weight, std=0.01)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        inner = self.norm1(relu(self.W1(z)))
        return self.norm3(relu(z + self.norm2(x + self.W2(inner))))


class Network(nn.Module):
    """Patches of the image, then the equilibrium (depth None) or `depth` layers, then a linear reading."""

    def __init__(self, depth: int | None) -> None:
        super().__init__()
        torch.manual_seed(0)  # all networks start from the same parameters
        self.patches = nn.Conv2d(1, CHANNELS, 5, stride=4, padding=2)
        self.cell = Cell(CHANNELS)
        self.read = nn.Linear(CHANNELS * SIDE * SIDE, 10)
        self.twin = None if depth is None else eq.FiniteDepth(self.cell, SHAPE, depth)
        self.solved: eq.Solution | None = None

    def forward(self, images: Tensor, tolerance: dict[str, Any]) -> Tensor:
        x = self.patches(images)
        if self.twin is not None:
            return self.read(self.twin(x).flatten(1))
        self.solved = eq.DEQ(self.cell, SHAPE, on_failure="ignore", **tolerance).solve(x)
        return self.read(self.solved.value.flatten(1))


# %% [markdown]
# ## Training
# `on_failure="ignore"` is asked for by name, because we look at the status ourselves: the share of samples whose solve
# converged, forward and backward, stands beside every accuracy.


# %%
@torch.no_grad()
def test(net: Network, images: Tensor, labels: Tensor) -> dict[str, Any]:
    """Accuracy, and how the solves went."""
    right, converged, steps = 0, 0, 0
    began = time.process_time()
    for x, y in zip(images.split(500), labels.split(500), strict=True):
        right += int((net(x, TEST).argmax(1) == y).sum())
        if net.solved is not None:
            converged += int(net.solved.converged.sum())
            steps += int(net.solved.steps.sum())
    result: dict[str, Any] = {
        "accuracy": right / len(labels),
        "test_cpu_seconds": round(time.process_time() - began, 1),
    }
    if net.solved is not None:
        result |= {"converged": converged / len(labels), "mean_steps": round(steps / len(labels), 1)}
    return result


def train(net: Network, images: Tensor, labels: Tensor, name: str) -> dict[str, Any]:
    """Adam with a one-cycle step size; every network sees the same batches."""
    draw = torch.Generator().manual_seed(1)
    batches = len(labels) // BATCH
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=batches * options.epochs)
    losses: list[float] = []
    solves: list[tuple[float, float, float, float]] = []
    began, cpu = time.perf_counter(), time.process_time()
    with tqdm(total=batches * options.epochs, desc=name, mininterval=1.0, smoothing=0.05) as bar:
        for _ in range(options.epochs):
            for rows in torch.randperm(len(labels), generator=draw)[: batches * BATCH].split(BATCH):
                loss = cross_entropy(net(images[rows], TRAIN), labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
                if net.solved is not None:
                    there, back = net.solved, net.solved.adjoint
                    means = (there.converged, there.steps, back.converged, back.steps)
                    solves.append(tuple(float(t.float().mean()) for t in means))
                bar.update()
                if len(losses) % 20 == 0:
                    bar.set_postfix(loss=f"{sum(losses[-20:]) / 20:.3f}")
    result: dict[str, Any] = {
        "cpu_seconds_per_epoch": round((time.process_time() - cpu) / options.epochs, 1),
        "seconds": round(time.perf_counter() - began, 1),
    }
    if solves:
        means = [sum(column) / len(solves) for column in zip(*solves, strict=True)]
        names = ("converged", "steps", "converged_backward", "steps_backward")
        result["training_solves"] = {key: round(mean, 4) for key, mean in zip(names, means, strict=True)}
    return result


# %% [markdown]
# ## Memory
# What autograd keeps between the forward and the backward pass of one batch, parameters not counted, measured on the
# trained cell: the twin at growing depth, the equilibrium network at growing accuracy.


# %%
def memory(net: Network, images: Tensor) -> dict[str, Any]:
    """Saved megabytes and CPU seconds (forward and backward) for one batch, by depth and by tolerance."""
    parameters = list(net.parameters())
    twins, equilibria = [], []
    net.solved = None
    for depth in [1, 2, 4, 8] if SMOKE else [1, 2, 4, 8, 16, 32, 64]:
        net.twin = eq.FiniteDepth(net.cell, SHAPE, depth)
        twins.append({"depth": depth, **cost(lambda: net(images, TEST), parameters)})
    net.twin = None
    for rtol in [1e-1, 1e-3] if SMOKE else [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]:
        tolerance = {"rtol": rtol, "atol": 0.1 * rtol, "max_steps": 200}
        measured = cost(lambda tolerance=tolerance: net(images, tolerance), parameters)
        solved = net.solved
        assert solved is not None
        steps, converged = float(solved.steps.float().mean()), float(solved.converged.float().mean())
        equilibria.append({"rtol": rtol, "mean_steps": steps, "converged": converged, **measured})
    return {"batch": len(images), "twin": twins, "equilibrium": equilibria}


def cost(forward: Any, parameters: list[Tensor]) -> dict[str, float]:
    """Saved megabytes, and the median CPU seconds of a forward and a backward pass."""
    times = []
    for _ in range(3):
        began = time.process_time()
        forward().square().mean().backward()
        times.append(time.process_time() - began)
    return {
        "saved_megabytes": round(saved_bytes(forward, parameters) / 1e6, 3),
        "cpu_seconds": round(sorted(times)[1], 4),
    }


# %% [markdown]
# ## The runs

# %%
images, labels = mnist("train")
test_images, test_labels = mnist("t10k")
if SMOKE:
    images, labels, test_images, test_labels = images[:1280], labels[:1280], test_images[:500], test_labels[:500]

result: dict[str, Any] = {
    "epochs": options.epochs, "batch": BATCH, "train_tolerance": TRAIN, "test_tolerance": TEST, "interrupted": False,
    "parameters": sum(p.numel() for p in Network(None).parameters()), "networks": {},
}  # fmt: skip
equilibrium = Network(None)
try:
    for depth in [None, *DEPTHS]:
        name = "equilibrium" if depth is None else f"twin {depth}"
        net = equilibrium if depth is None else Network(depth)
        trained = train(net, images, labels, name)
        result["networks"][name] = {"depth": depth, **trained, **test(net, test_images, test_labels)}
        run = result["networks"][name]
        print(f"{name:12s} accuracy {run['accuracy']:.4f}, {run['cpu_seconds_per_epoch']} s an epoch")
        if depth is None:
            result["memory"] = memory(net, images[:BATCH].clone())
except KeyboardInterrupt:
    result["interrupted"] = True
    print("interrupted: what is there is kept")

for row in result.get("memory", {}).get("twin", []):
    print(f"depth {row['depth']:3d}: {row['saved_megabytes']:8.2f} MB saved, {row['cpu_seconds']:.3f} s")
for row in result.get("memory", {}).get("equilibrium", []):
    print(
        f"rtol {row['rtol']:g}: {row['saved_megabytes']:8.2f} MB saved, {row['cpu_seconds']:.3f} s, "
        f"{row['mean_steps']:.1f} steps, {row['converged']:.0%} converged"
    )


# %% [markdown]
# ## The picture


# %%
def picture(path: Path) -> None:
    """Accuracy and time against depth, memory against the work done."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    networks = result["networks"]
    twins = [run for run in networks.values() if run["depth"] is not None]
    ours = networks["equilibrium"]
    depths = [run["depth"] for run in twins]
    for axes, key, scale, title in (
        (left, "accuracy", 100, "test accuracy in %"), (middle, "cpu_seconds_per_epoch", 1, "CPU seconds for an epoch"),
    ):  # fmt: skip
        axes.semilogx(depths, [scale * run[key] for run in twins], "o-", base=2, label="explicit twin")
        axes.axhline(scale * ours[key], color="C3", label="equilibrium")
        axes.set(xlabel="depth L of the twin", title=title)
    sizes = result["memory"]
    right.loglog(
        [row["depth"] for row in sizes["twin"]], [row["saved_megabytes"] for row in sizes["twin"]], "o-", label="twin"
    )
    right.loglog(
        [row["mean_steps"] for row in sizes["equilibrium"]],
        [row["saved_megabytes"] for row in sizes["equilibrium"]], "s-", color="C3", label="equilibrium, rtol ≥ 1e-5",
    )  # fmt: skip
    right.set(xlabel="depth, or mean steps of the solve", title=f"saved for backward, MB at batch {sizes['batch']}")
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)


stored = store("deq_mnist", result, options.output)
if stored and "memory" in result and len(result["networks"]) > 1:
    picture(stored.with_suffix(".png"))
    print(f"written: {stored.name} and its plot in {stored.parent.name}/")
