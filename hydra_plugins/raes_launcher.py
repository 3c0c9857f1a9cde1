"""Hydra's launcher for `python -m raes.train -m`: jobs in sequence, or side by side on one Ray.

Hydra finds plugins in the namespace `hydra_plugins` only; what this one does is in `raes.train` and
`raes.training.sweep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class RaesLauncher(Launcher):
    """`hydra.launcher.parallel`: 1, another number of jobs at a time, or `auto`: as many as there are CPUs for."""

    def __init__(self, parallel: int | str = 1) -> None:
        self.parallel = parallel
        self._context: Any = None
        self._task: Any = None
        self._config: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs of a batch."""
        setup_globals()
        jobs = [(initial_job_idx + number, list(overrides)) for number, overrides in enumerate(job_overrides)]
        if self.parallel == 1:
            return [self._called(self._task, *job) for job in jobs]
        runs: Any = vars(self._task)["runs"]
        composed = [self._called(runs.job, *job) for job in jobs]  # ready to run, or why it cannot run
        values = runs.side_by_side([one.return_value for one in composed], self.parallel)
        for one, value in zip(composed, values, strict=True):
            one.status, one.return_value = JobStatus.COMPLETED, value
        return composed

    def _called(self, task: Any, number: int, overrides: list[str]) -> JobReturn:
        """What a task returns for a job's configuration."""
        tree = self._context.config_loader.load_sweep_config(self._config, overrides)
        with open_dict(tree):
            tree.hydra.job.id, tree.hydra.job.num = str(number), number
        return run_job(task, tree, "hydra.sweep.dir", "hydra.sweep.subdir", self._context, False)
