"""The same work in several processes: every job is a function of its own arguments, so their number changes nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def spread(work: Callable[[Job], Result], jobs: Sequence[Job], workers: int) -> list[Result]:
    """Do the jobs in fresh processes, each with as many threads as this one has, and collect what they give.

    An interrupt ends the processes; what they had stored by then is what a resumed run goes on from.

    Args:
        work: a function of a module, so that another process finds it by name.
        jobs: its arguments; they and the results travel between processes.
        workers: how many processes at a time.

    Returns:
        The results in the order of the jobs.
    """
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), multiprocessing.get_context("spawn"), torch.set_num_threads, (torch.get_num_threads(),)
    )
    try:
        return list(pool.map(work, jobs))
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
