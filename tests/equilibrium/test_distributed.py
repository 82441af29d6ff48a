"""DistributedDataParallel: two processes that share a batch have the gradient of one that sees all of it."""

from __future__ import annotations

import runpy
import subprocess
import sys
import textwrap

import pytest
import torch

WORKER = textwrap.dedent("""
    import os
    import sys
    import torch
    import torch.distributed as dist
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel
    import eqnets as eq

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            g = torch.Generator().manual_seed(0)
            self.W = nn.Parameter(0.4 * torch.randn(4, 4, generator=g, dtype=torch.float64) / 2)
            self.U = nn.Parameter(torch.randn(3, 4, generator=g, dtype=torch.float64))
            self.guess = nn.Linear(3, 4, dtype=torch.float64)
        def forward(self, x):
            hidden = x @ self.U
            z0 = 0.1 * self.guess(x)
            sol = eq.fixed_point(lambda z, h: torch.tanh(z @ self.W + h), z0, hidden, rtol=1e-12, atol=1e-13)
            return sol.value

    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(6, 3, generator=g, dtype=torch.float64) * torch.linspace(0.01, 3, 6)[:, None]
    torch.manual_seed(0)
    model = Model()
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
        model = DistributedDataParallel(model)
    share = x[rank * 6 // world : (rank + 1) * 6 // world]
    for _ in range(2):
        model.zero_grad()
        model(share).square().mean().backward()
    torch.save({k.removeprefix("module."): v.grad for k, v in model.named_parameters()}, f"{folder}/{world}-{rank}.pt")
    if world > 1:
        dist.barrier()
        del model  # its reducer belongs to the group
        dist.destroy_process_group()
        os._exit(0)  # the result is on disk; gloo's own threads may abort an orderly exit (seen under load)
""")


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
def test_two_processes_have_the_gradient_of_one(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    jobs = [
        subprocess.Popen([sys.executable, str(script), str(rank), "2", str(tmp_path)], stderr=subprocess.PIPE)
        for rank in (0, 1)
    ]
    monkeypatch.setattr(sys, "argv", [str(script), "0", "1", str(tmp_path)])
    threads = torch.get_num_threads()
    runpy.run_path(str(script))
    torch.set_num_threads(threads)
    errors = [job.communicate(timeout=100)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], b"\n".join(errors).decode()
    alone, first, second = (torch.load(tmp_path / name, weights_only=True) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    for name, gradient in alone.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], gradient, rtol=1e-9, atol=1e-11)
    assert alone["W"].any() and alone["U"].any() and not alone["guess.weight"].any()
