# %% [markdown]
# # A small DEQ-Transformer that reads a text, beside its explicit twin
#
# The cell is one Transformer layer with relative attention and its input injected into queries, keys and values, as in
# the DEQ-Transformer (Bai, Kolter & Koltun, NeurIPS 2019, section 4.2; relative attention: Dai et al., ACL 2019). The
# equilibrium network solves for the hidden states of the whole sequence; its twin applies the same layer, with the
# same parameters, `--depth` times. Both predict the next character; the score is bits per character on the last tenth
# of the text, which training never sees.
#
#     EQNETS_DATA=… python examples/deq_transformer.py [TEXT] [-o FOLDER] [--steps N] [--threads N]
#
# TEXT is any UTF-8 text file; without one, `text/tiny_shakespeare.txt` of the data folder. `EQNETS_SMOKE=1` shrinks
# everything. An interrupted run stores what it has.

# %%
from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import matplotlib
import torch
from datasets import text
from record import SMOKE, saved_bytes, store
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu
from tqdm import tqdm

import eqnets as eq

matplotlib.use("agg")
from matplotlib import pyplot as plt  # noqa: E402

parser = argparse.ArgumentParser(description="A character-level DEQ-Transformer, beside its explicit twin.")
parser.add_argument("text", type=Path, nargs="?", help="a UTF-8 text; default: tiny_shakespeare.txt of EQNETS_DATA")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file and the plot")
parser.add_argument("--steps", type=int, default=4 if SMOKE else 600, help="gradient steps for each network")
parser.add_argument("--depth", type=int, default=4, help="of the twin")
parser.add_argument("--threads", type=int, default=torch.get_num_threads())
options = parser.parse_args()
torch.set_num_threads(options.threads)

WIDTH, HEADS, LENGTH, BATCH = (32, 2, 32, 4) if SMOKE else (128, 4, 128, 16)
TRAIN = {"rtol": 1e-2, "atol": 1e-2, "max_steps": 30}
TEST = {"rtol": 1e-3, "atol": 1e-3, "max_steps": 60}


# %% [markdown]
# ## The cell
# Attention score of position $i$ for position $j \le i$, as in Transformer-XL: $(q_i + u)^\top k_j + (q_i + v)^\top
# r_{i-j}$ with sinusoids behind $r$, so that only distances enter. $x$ is injected into $q, k, v$.


# %%
class Cell(nn.Module):
    """z, x ↦ norm(h + W₂ gelu(W₁ h)) with h = norm(z + attention(z, x)).

    z is (batch, time, width), x is (batch, time, 3 width).
    """

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.position = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.W1, self.W2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.u, self.v = (nn.Parameter(torch.zeros(heads, 1, width // heads)) for _ in range(2))
        for W in (self.qkv, self.position, self.out, self.W1, self.W2):
            nn.init.normal_(W.weight, std=0.02)
        distance = torch.arange(length).float()
        angle = distance[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        self.register_buffer("waves", torch.cat((angle.sin(), angle.cos()), dim=1), persistent=False)
        self.register_buffer("future", torch.ones(length, length, dtype=torch.bool).triu(1), persistent=False)

    def attention(self, z: Tensor, x: Tensor) -> Tensor:
        batch, time, width = z.shape
        split = (batch, time, 3, self.heads, width // self.heads)
        q, k, v = (self.qkv(z) + x).view(split).permute(2, 0, 3, 1, 4)  # (batch, heads, time, width/heads)
        r = (
            self.position(self.waves[:time]).view(time, self.heads, -1).permute(1, 2, 0)
        )  # (heads, width/heads, distance)
        score = (q + self.u) @ k.transpose(-1, -2) + shift((q + self.v) @ r)
        score = score.masked_fill(self.future[:time, :time], -math.inf) / math.sqrt(q.shape[-1])
        return self.out((score.softmax(-1) @ v).transpose(1, 2).reshape(batch, time, width))

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        h = self.norm1(z + self.attention(z, x))
        return self.norm2(h + self.W2(gelu(self.W1(h))))


def shift(by_distance: Tensor) -> Tensor:
    """Entry (i, j) ← entry (i, distance i − j); the entries with j > i are arbitrary (they are masked)."""
    time = by_distance.shape[-1]
    flipped = torch.nn.functional.pad(by_distance.flip(-1), (0, 1))  # columns: distance time−1 … 0, and one more
    shape = flipped.shape[:-2]
    return flipped.reshape(*shape, time * (time + 1))[..., time - 1 : -1].reshape(*shape, time, time)


# %% [markdown]
# ## The network
# Embedding and injection, then the equilibrium (depth None) or `depth` layers, then a linear reading.


# %%
def start(x: Tensor) -> Tensor:
    """Zeros, for sequences of any length."""
    return x.new_zeros(*x.shape[:2], WIDTH)


class Network(nn.Module):
    """Characters (batch, time) → logits of the next character (batch, time, alphabet)."""

    def __init__(self, alphabet: int, depth: int | None) -> None:
        super().__init__()
        torch.manual_seed(0)  # both networks start from the same parameters
        self.embed = nn.Embedding(alphabet, WIDTH)
        self.inject = nn.Linear(WIDTH, 3 * WIDTH)
        self.cell = Cell(WIDTH, HEADS, LENGTH)
        self.read = nn.Linear(WIDTH, alphabet)
        self.twin = None if depth is None else eq.FiniteDepth(self.cell, start, depth)
        self.solved: eq.Solution | None = None

    def forward(self, codes: Tensor, tolerance: dict[str, Any]) -> Tensor:
        x = self.inject(self.embed(codes))
        if self.twin is not None:
            return self.read(self.twin(x))
        # on_failure="ignore" by name: we show the share of converged samples instead of a warning for each solve
        self.solved = eq.DEQ(self.cell, start, on_failure="ignore", **tolerance).solve(x)
        return self.read(self.solved.value)


# %% [markdown]
# ## Training and the score


# %%
def bits(logits: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), target.flatten()) / math.log(2)


def train(net: Network, codes: Tensor, name: str) -> dict[str, Any]:
    """AdamW, warm-up and cosine; both networks see the same batches."""
    draw = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=options.steps + 1, pct_start=0.1)
    curve: list[float] = []
    solves: list[list[float]] = []
    result: dict[str, Any] = {"steps": 0, "curve": curve}
    began, cpu = time.perf_counter(), time.process_time()
    with tqdm(total=options.steps, desc=name, mininterval=1.0, smoothing=0.05) as bar:
        try:
            for _ in range(options.steps):
                at = torch.randint(len(codes) - LENGTH, (BATCH,), generator=draw)
                window = torch.stack([codes[i : i + LENGTH + 1] for i in at.tolist()])
                loss = bits(net(window[:, :-1], TRAIN), window[:, 1:])
                optimiser.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                curve.append(round(float(loss.detach()), 4))
                if net.solved is not None:
                    there, back = net.solved, net.solved.adjoint
                    means = (there.converged, there.steps, back.converged, back.steps)
                    solves.append([float(t.float().mean()) for t in means])
                bar.update()
                bar.set_postfix(bits=f"{sum(curve[-20:]) / len(curve[-20:]):.3f}")
        except KeyboardInterrupt:
            result["interrupted"] = True
    result |= {"steps": len(curve), "seconds": round(time.perf_counter() - began, 1)}
    result["cpu_seconds"] = round(time.process_time() - cpu, 1)
    if solves:
        names = ("converged", "steps", "converged_backward", "steps_backward")
        result["training_solves"] = {
            key: round(sum(column) / len(solves), 4)
            for key, column in zip(names, zip(*solves, strict=True), strict=True)
        }
    return result


@torch.no_grad()
def score(net: Network, codes: Tensor) -> dict[str, Any]:
    """Bits per character; every character is predicted with at least half a window before it."""
    half = LENGTH // 2
    starts = range(0, (len(codes) - 1 - LENGTH) if not SMOKE else 8 * half, half)
    windows = torch.stack([codes[i : i + LENGTH + 1] for i in starts])
    total, converged, steps = 0.0, 0.0, 0.0
    for window in windows.split(BATCH):
        total += float(bits(net(window[:, :-1], TEST)[:, half:], window[:, 1 + half :])) * len(window)
        if net.solved is not None:
            converged += float(net.solved.converged.sum())
            steps += float(net.solved.steps.sum())
    result: dict[str, Any] = {"bits_per_character": round(total / len(windows), 4), "characters": len(windows) * half}
    if net.solved is not None:
        result |= {"converged": converged / len(windows), "mean_steps": round(steps / len(windows), 1)}
    return result


@torch.no_grad()
def sample(net: Network, alphabet: str, length: int) -> str:
    """Characters drawn from the network, beginning with a line break."""
    draw = torch.Generator().manual_seed(2)
    codes = [alphabet.find("\n") if "\n" in alphabet else 0]
    for _ in range(length):
        logits = net(torch.tensor([codes[-LENGTH:]]), TEST)[0, -1]
        codes.append(int(torch.multinomial((logits / 0.8).softmax(0), 1, generator=draw)))
    return "".join(alphabet[i] for i in codes[1:])


# %% [markdown]
# ## Memory
# What autograd keeps for the backward pass of one batch, parameters not counted: the twin at growing depth, the
# equilibrium network at growing accuracy.


# %%
def memory(net: Network, codes: Tensor) -> dict[str, Any]:
    """Saved megabytes by depth and by tolerance."""
    parameters = list(net.parameters())
    window = torch.stack([codes[i : i + LENGTH] for i in range(0, BATCH * LENGTH, LENGTH)])
    twins, equilibria = [], []
    for depth in [1, 2] if SMOKE else [1, 2, 4, 8, 16]:
        net.twin = eq.FiniteDepth(net.cell, start, depth)
        twins.append({"depth": depth, "saved_megabytes": saved_bytes(lambda: net(window, TEST), parameters) / 1e6})
    net.twin = None
    for rtol in [1e-1, 1e-2] if SMOKE else [1e-1, 1e-2, 1e-3, 1e-4]:
        tolerance = {"rtol": rtol, "atol": rtol, "max_steps": 200}
        saved = saved_bytes(lambda tolerance=tolerance: net(window, tolerance), parameters) / 1e6
        assert net.solved is not None
        steps, converged = float(net.solved.steps.float().mean()), float(net.solved.converged.float().mean())
        equilibria.append({"rtol": rtol, "mean_steps": steps, "converged": converged, "saved_megabytes": saved})
    return {"batch": BATCH, "length": LENGTH, "twin": twins, "equilibrium": equilibria}


# %% [markdown]
# ## The runs

# %%
training, held_out, alphabet = text(options.text)
result: dict[str, Any] = {
    "text": options.text.name if options.text else "tiny_shakespeare.txt", "characters": len(training) + len(held_out),
    "alphabet": len(alphabet), "width": WIDTH, "heads": HEADS, "length": LENGTH, "batch": BATCH,
    "train_tolerance": TRAIN, "test_tolerance": TEST, "interrupted": False,
    "parameters": sum(p.numel() for p in Network(len(alphabet), None).parameters()), "networks": {},
}  # fmt: skip
try:
    for name, depth in (("equilibrium", None), (f"twin {options.depth}", options.depth)):
        net = Network(len(alphabet), depth)
        run = train(net, training, name)
        result["networks"][name] = {"depth": depth, **run, **score(net, held_out)}
        found = result["networks"][name]
        print(f"{name}: {found['bits_per_character']:.3f} bits per character, {found['cpu_seconds']} s")
        if depth is None:
            result["memory"] = memory(net, training)
            result["sample"] = sample(net, alphabet, 20 if SMOKE else 400)
            print(f"\n{result['sample']}\n")
        if run.get("interrupted"):
            raise KeyboardInterrupt
except KeyboardInterrupt:
    result["interrupted"] = True
    print("interrupted: what is there is kept")


# %% [markdown]
# ## The picture


# %%
def picture(path: Path) -> None:
    """The training curves, and memory against the work done."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for name, run in result["networks"].items():
        curve = torch.tensor(run["curve"])
        smooth = curve.unfold(0, min(25, len(curve)), 1).mean(1)
        label = f"{name}: {run['bits_per_character']:.3f} held out, {run['cpu_seconds']:.0f} s"
        left.plot(
            range(len(curve) - len(smooth), len(curve)),
            smooth,
            label=label,
            color="C3" if run["depth"] is None else "C0",
        )
    left.set(xlabel="gradient steps", title="bits per character, training (mean of 25)")
    sizes = result["memory"]
    right.loglog(
        [row["depth"] for row in sizes["twin"]], [row["saved_megabytes"] for row in sizes["twin"]], "o-", label="twin"
    )
    right.loglog(
        [row["mean_steps"] for row in sizes["equilibrium"]],
        [row["saved_megabytes"] for row in sizes["equilibrium"]], "s-", color="C3", label="equilibrium, rtol ≥ 1e-4",
    )  # fmt: skip
    right.set(xlabel="depth, or mean steps of the solve", title=f"saved for backward, MB at batch {BATCH} × {LENGTH}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)


stored = store("deq_transformer", result, options.output)
if stored and "memory" in result and result["networks"]:
    picture(stored.with_suffix(".png"))
    print(f"written: {stored.name} and its plot in {stored.parent.name}/")
