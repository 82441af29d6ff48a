# %% [markdown]
# # Train one network with several processes
#
# A recurrent equilibrium network is an ordinary module, so that DistributedDataParallel and torchrun work as they do
# for any other: every process rolls out its share of the records, gradients are averaged, and the parameters stay the
# same everywhere. The promise does not depend on the gradients at all; the first process proves it at the end.
#
#     torchrun --nproc-per-node 2 examples/ren_torchrun.py [--steps N] [-o FOLDER]
#
# Started with plain `python`, the same script is one process with all records, and ends at the same numbers, to
# rounding.

# %%
from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from record import SMOKE, store
from torch.nn.parallel import DistributedDataParallel

import eqnets as eq

parser = argparse.ArgumentParser(description="A recurrent equilibrium network trained by several processes.")
parser.add_argument("-o", "--output", type=Path, help="folder for the JSON file; nothing is written without it")
parser.add_argument("--steps", type=int, default=20 if SMOKE else 1000)
options = parser.parse_args()

rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
torch.set_num_threads(1)
if world > 1:
    dist.init_process_group("gloo")

# %% [markdown]
# The data: the stabilised inverted pendulum, eight records. A process takes every `world`-th of them.

# %%
plant = eq.plants.Pendulum(mass=1.0, length=1.0, gravity=9.81, damping=2.0, upright=True, kp=20.0, kd=1.0)
records = plant.records(torch.Generator().manual_seed(0), n_records=8, duration=10.0 if SMOKE else 40.0)
u, y = (torch.tensor(np.stack([record[k] for record in records]), dtype=torch.float32) for k in (0, 1))
u = u / u.std()
mine = slice(rank, None, world)

model = eq.ContractingREN(1, 4, 20, 1, activation="tanh", generator=torch.Generator().manual_seed(0))
shared = DistributedDataParallel(model) if world > 1 else model
optimiser = torch.optim.Adam(model.parameters(), 5e-3)
error = torch.tensor(0.0)
for step in range(options.steps):
    predicted, _ = shared(u[mine])
    error = (predicted - y[mine]).square().mean()
    optimiser.zero_grad()
    error.backward()
    optimiser.step()
    if rank == 0 and step % max(options.steps // 10, 1) == 0:
        print(f"step {step} of {options.steps}: RMSE {float(error.detach().sqrt()):.4f} rad")

# %% [markdown]
# Every process holds the same parameters. One of them proves the promise.

# %%
if world > 1:
    checks = [torch.zeros(()) for _ in range(world)]
    dist.all_gather(checks, sum(p.detach().abs().sum() for p in model.parameters()))
    assert all(bool(check == checks[0]) for check in checks)
if rank == 0:
    certificate = eq.certify(eq.Contracting(), model.explicit(), model.witness())
    print(f"proved: {certificate.claim}, margin {certificate.margin:.2e}")
    with torch.no_grad():
        rmse = float((model(u)[0] - y).square().mean().sqrt())
    if options.output:
        store("ren_torchrun", {"processes": world, "steps": options.steps, "rmse": rmse}, options.output)
if world > 1:
    dist.barrier()
    del shared
    dist.destroy_process_group()
