"""One thread: the tests' tensors are small, and on a busy machine threads that wait for each other cost minutes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

# `model` and its batch `x` are defined between the two parts.
_BEFORE = """
import os, sys, torch, torch.distributed as dist, eqnets as eq
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
torch.manual_seed(0)
"""
_AFTER = """
if world > 1:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    model = torch.nn.parallel.DistributedDataParallel(model)
for _ in range(2):
    model.zero_grad()
    model(x[rank * len(x) // world : (rank + 1) * len(x) // world]).square().mean().backward()
torch.save({k.removeprefix("module."): v.grad for k, v in model.named_parameters()}, f"{folder}/{world}-{rank}.pt")
if world > 1:
    dist.barrier()
    del model  # its reducer belongs to the group
    dist.destroy_process_group()
    os._exit(0)  # the result is on disk; gloo's own threads may abort an orderly exit (seen under load)
"""


@pytest.fixture
def gradients_in_processes(tmp_path: Path) -> Callable[[str], list[dict[str, torch.Tensor]]]:
    """The gradients of mean(model(x)²): of one process, and of each of two that share the batch `x`.

    The argument is Python that defines `model` and `x`; it may use `torch`, `eq` and the modules of the tests.
    """
    if not torch.distributed.is_available():
        pytest.skip("torch was built without distributed")

    def gradients(body: str) -> list[dict[str, torch.Tensor]]:
        script = tmp_path / "worker.py"
        script.write_text(_BEFORE + textwrap.dedent(body) + _AFTER)
        runs = [("0", "1"), ("0", "2"), ("1", "2")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        commands = [[sys.executable, str(script), *run, str(tmp_path)] for run in runs]
        jobs = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for command in commands]
        errors = [job.communicate(timeout=120)[1] for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0, 0], b"\n".join(errors).decode()
        return [torch.load(tmp_path / f"{world}-{rank}.pt", weights_only=True) for rank, world in runs]

    return gradients
