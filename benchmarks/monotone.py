"""Time monotone networks: a training step against the algorithm of 2020, and a convolutional step against its floor.

    python benchmarks/monotone.py [--smoke] [--rounds N] [--epochs N] [-o FILE.json]

1. One training step (forward, backward, Adam) of the MNIST network of Winston & Kolter, NeurIPS 2020, table 1: 784
   inputs, 87 neurons, batch 128. Against their algorithm, written out here: a fixed α, the resolvent computed for every
   pass, forward and backward, a test on the whole batch's step by `.item()` in every iteration. Both are calibrated to
   the same true residual, ‖z − σ(Wz + Ux + b)‖ ≤ TOL ‖z‖ for every sample, each by the loosest tolerance that gives it;
   the error of the gradient that follows is stated. α is 1 ("2020"), or the best of 1, ½, ¼, …
   ("2020 tuned", as the authors did twice an epoch; the search is not timed). The weights are those of the start, the
   same with A and B grown, and, where EQNETS_DATA names the folder with MNIST, those after N epochs of training by the
   paper's recipe (its images are then the batch).
2. One Peaceman–Rachford step of a convolutional network, against one rfft2, one batched product and one irfft2 on the
   same sizes.

CPU times of one thread, medians over interleaved rounds. Targets: 3 times faster where weights have grown; 1.5 floors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import eqnets as eq

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from datasets import mnist  # noqa: E402

TOL = 1e-3
GROWTH = {"start": 1.0, "grown 3": 3.0, "grown 5": 5.0}


class Published(torch.autograd.Function):
    """The forward and backward solves of 2020 for ReLU: z from b and W, α = 1."""

    most = 3000

    @staticmethod
    def forward(ctx: Any, b: Tensor, W: Tensor, alpha: float, tol: float, count: list[int]) -> Tensor:
        V = torch.linalg.inv((1 + alpha) * torch.eye(len(W)) - alpha * W)
        z = u = torch.zeros_like(b)
        for count[0] in range(1, Published.most + 1):
            half = 2 * z - u
            u = 2 * (half + alpha * b) @ V.T - half
            new = torch.relu(u)
            error = ((new - z).norm() / (1e-6 + new.norm())).item()
            z = new
            if error < tol:
                break
        ctx.save_for_backward(z, W, b)
        ctx.alpha, ctx.tol, ctx.count = alpha, tol, count
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        z, W, b = ctx.saved_tensors
        alpha = ctx.alpha
        V = torch.linalg.inv((1 + alpha) * torch.eye(len(W)) - alpha * W)
        J = ((z @ W.T + b) > 0).to(z)
        s = u = torch.zeros_like(g)
        for ctx.count[1] in range(1, Published.most + 1):
            half = 2 * s - u
            u = 2 * half @ V - half
            new = J * (u + alpha * g) / (J + alpha * (1 - J))
            error = ((new - s).norm() / (1e-6 + new.norm())).item()
            s = new
            if error < ctx.tol:
                break
        v = J * (s @ W + g)
        return v, v.T @ z, None, None, None


class Network(nn.Module):
    """The MNIST network by either algorithm."""

    def __init__(self, ours: bool) -> None:
        super().__init__()
        self.deq = eq.MonotoneDEQ(784, 87, generator=torch.Generator().manual_seed(0), max_steps=3000)
        self.readout = nn.Linear(87, 10)
        self.ours, self.alpha, self.tol, self.count = ours, 1.0, TOL, [0, 0]

    def state(self, x: Tensor) -> Tensor:
        """The equilibrium."""
        if self.ours:
            self.deq.rtol, self.deq.atol = self.tol, self.tol / 10
            self.solution = self.deq.solve(x)
            return self.solution.value
        return Published.apply(self.deq.bias(x), self.deq.linear.weight(), self.alpha, self.tol, self.count)

    def residual(self, x: Tensor) -> float:
        """The largest relative residual of a sample."""
        with torch.no_grad():
            z = self.state(x)
            r = z - torch.relu(z @ self.deq.linear.weight().T + self.deq.bias(x))
            return float((r.norm(dim=1) / z.norm(dim=1)).max())

    def steps(self) -> list[int]:
        """Iterations of the last pass, forward and backward."""
        if not self.ours:
            return list(self.count)
        return [int(self.solution.steps.max()), int(self.solution.adjoint.steps.max())]


def calibrate(network: Network, x: Tensor) -> None:
    """The loosest tolerance, for both passes, with which every sample is within TOL."""
    network.tol = 100 * TOL
    while network.residual(x) > TOL:
        network.tol *= 0.8


def gradient(network: Network, x: Tensor, y: Tensor) -> Tensor:
    """The gradient of the loss, all in one."""
    loss = cross_entropy(network.readout(network.state(x)), y)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])


def tune(network: Network, x: Tensor) -> None:
    """Halve α while the algorithm of 2020 needs fewer steps."""
    calibrate(network, x)
    while True:
        network.alpha, best, tol = network.alpha / 2, network.count[0], network.tol
        calibrate(network, x)
        if network.count[0] >= best:
            network.alpha, network.tol = 2 * network.alpha, tol
            return


def starts(epochs: int, batch: int) -> dict[str, tuple[dict[str, Tensor], Tensor, Tensor]]:
    """The weights of each case, and the batch that it is timed on."""
    generator = torch.Generator().manual_seed(1)
    x, y = torch.rand(batch, 784, generator=generator), torch.randint(0, 10, (batch,), generator=generator)
    network = Network(ours=True)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    found = {
        name: ({key: t * growth if "linear" in key else t for key, t in first.items()}, x, y)
        for name, growth in GROWTH.items()
    }
    if epochs and os.environ.get("EQNETS_DATA"):
        images, labels = mnist("train")
        train(network, images.flatten(1), labels, epochs)
        found["trained"] = network.state_dict(), images[:batch].flatten(1), labels[:batch]
    return found


def train(network: Network, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Adam at 1e-3, batches of 128, as in the paper."""
    optimiser, network.tol = torch.optim.Adam(network.parameters(), 1e-3), 1e-2
    for epoch in range(epochs):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
        for index in order.split(128):
            advance(network, optimiser, images[index], labels[index])
    network.tol = TOL


def advance(network: Network, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One training step."""
    loss = cross_entropy(network.readout(network.state(x)), y)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def training(rounds: int, batch: int, epochs: int) -> dict[str, Any]:
    """A training step, ours and that of 2020, for every start."""
    result = {}
    for name, (weights, x, y) in starts(epochs, batch).items():
        networks = {"eqnets": Network(ours=True), "2020": Network(ours=False), "2020 tuned": Network(ours=False)}
        steps: dict[str, Callable[[], None]] = {}
        for key, network in networks.items():
            network.load_state_dict(weights)
            (tune if key == "2020 tuned" else calibrate)(network, x)
            optimiser = torch.optim.Adam(network.parameters(), 1e-6)  # new weights at every step, and yet the same
            steps[key] = partial(advance, network, optimiser, x, y)
        times = interleaved(steps, rounds)
        truth = Network(ours=True).double()
        truth.load_state_dict(networks["eqnets"].state_dict())
        truth.tol = 1e-9
        exact = gradient(truth, x.double(), y)
        errors = {k: float((gradient(n, x, y) - exact).norm() / exact.norm()) for k, n in networks.items()}
        with torch.no_grad():
            W = networks["eqnets"].deq.linear.weight()
            L = float(torch.linalg.matrix_norm(torch.eye(87) - W, 2))
        result[name] = {
            "condition": L, "milliseconds": {k: 1e3 * t for k, t in times.items()},
            "steps": {k: n.steps() for k, n in networks.items()}, "alpha": networks["2020 tuned"].alpha,
            "ratio": {k: times[k] / times["eqnets"] for k in ("2020", "2020 tuned")},
            "residual": {k: n.residual(x) for k, n in networks.items()}, "gradient error": errors,
        }  # fmt: skip
    return result


def convolution(rounds: int, channels: int, batch: int, steps: int = 20) -> dict[str, Any]:
    """A step of the convolutional network against its three unavoidable operations."""
    deq = eq.MonotoneConvDEQ(
        1, channels, (28, 28), padding="zeros", generator=torch.Generator().manual_seed(0), rtol=1e-6, atol=1e-7,
        max_steps=steps, on_failure="ignore",
    )  # fmt: skip
    x = torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        blocks = deq.operator(*deq.weights()).spectrum
    z = torch.rand(batch, channels, 30, 30, generator=torch.Generator().manual_seed(2))

    def floor() -> None:
        for _ in range(steps):
            spectrum = torch.fft.rfft2(z).permute(2, 3, 1, 0)
            torch.fft.irfft2((blocks @ spectrum).permute(3, 2, 0, 1), s=(30, 30))

    def solve(most: int) -> Callable[[], None]:
        def run() -> None:
            deq.max_steps = most
            with torch.no_grad():
                deq.solve(x)

        return run

    deq.rtol, deq.atol = 0.0, 2e-6  # out of reach of so small a step: all of them are made, by all samples
    deq.solver = eq.PeacemanRachford(1e-3)
    times = interleaved({"floor": floor, "few": solve(2), "many": solve(2 + steps)}, rounds)
    step = (times["many"] - times["few"]) / steps
    return {"milliseconds": 1e3 * step, "floor": 1e3 * times["floor"] / steps, "ratio": step * steps / times["floor"]}


def interleaved(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if number:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="small sizes and two rounds, to see that it runs")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=5, help="epochs of training before the last case; 0: without it")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rounds = 2 if options.smoke else options.rounds
    result: dict[str, Any] = {
        "environment": {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()},
        "epochs": options.epochs,
        "training": training(rounds, *((16, 0) if options.smoke else (128, options.epochs))),
    }
    for name, row in result["training"].items():
        costs = [f"{key} {ms:.2f} ms {row['steps'][key]}" for key, ms in row["milliseconds"].items()]
        print(
            f"training step, {name:8s} L/m = {row['condition']:5.1f}: {', '.join(costs)} steps: "
            f"{row['ratio']['2020']:.2f}×, tuned {row['ratio']['2020 tuned']:.2f}×"
        )
    small = (4, 4) if options.smoke else (54, 128)
    result["convolution"] = row = convolution(max(2, rounds // 3), *small)
    print(f"convolution step: {row['milliseconds']:.2f} ms, floor {row['floor']:.2f} ms: {row['ratio']:.2f}×")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
