"""The workers of `raes.train_module`: this process, or processes on Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from threadpoolctl import threadpool_limits

from raes.runtime.executor import Executor
from raes.runtime.memory import GIB, Room, free_memory, misfits
from raes.runtime.scheduling import Size
from raes.runtime.serial import SerialExecutor
from raes.runtime.worker import WorkerSpec
from raes.types import UserError


@contextmanager
def executor(spec: WorkerSpec, table_size: int, workers: int) -> Iterator[Executor]:
    """This process, with its BLAS afterwards as it was, or Ray, ended afterwards unless the caller had it already."""
    if workers == 1:
        with threadpool_limits(1), closing(SerialExecutor(spec, table_size)) as serial:
            yield serial
        return
    from raes.runtime.ray_executor import RayExecutor
    from raes.runtime.session import attached

    check_table(table_size, copies=2)
    with (
        attached("auto", workers, 4 * table_size),
        threadpool_limits(1),
        closing(RayExecutor(spec, table_size, Size.of(workers), relays=False, deadline=None)) as pool,
    ):
        yield pool


def check_table(table_size: int, copies: int) -> None:
    """Refuse a noise table that the free memory cannot hold so many times.

    Raises:
        UserError: with the sizes.
    """
    free = free_memory()
    if misfits(4 * table_size, Room(free, copies)):
        twice = ", twice for a moment" if copies > 1 else ""
        raise UserError(
            f"so many parameters need a noise table of {4 * table_size / GIB:,.1f} GiB{twice}, and "
            f"{free / GIB:.1f} GiB of memory are free; train fewer parameters, or use a machine with more memory"
        )
