"""Hydra's launcher for `python -m raes.train -m`: jobs in sequence, or side by side on one Ray.

Hydra finds plugins in the namespace `hydra_plugins` only; what this one does is in `raes.train` and
`raes.training.sweep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from omegaconf import open_dict


class RaesLauncher(BasicLauncher):
    """`hydra.launcher.parallel`: 1, another number of jobs at a time, or `auto`: as many as there are CPUs for."""

    def __init__(self, parallel: int | str = 1) -> None:
        super().__init__()
        self.parallel = parallel

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs of a batch."""
        if self.parallel == 1:
            return super().launch(job_overrides, initial_job_idx)
        setup_globals()
        runs: Any = vars(self.task_function)["runs"]
        composed = [self._composed(list(one), initial_job_idx + number) for number, one in enumerate(job_overrides)]
        values = runs.side_by_side([one.return_value for one in composed], self.parallel)
        for one, value in zip(composed, values, strict=True):
            one.status, one.return_value = JobStatus.COMPLETED, value
        return composed

    def _composed(self, overrides: list[str], number: int) -> JobReturn:
        """A job's configuration, ready to run, as its value; or why it cannot run."""
        runs: Any = vars(self.task_function)["runs"]
        assert self.hydra_context is not None
        assert self.config is not None
        tree = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(tree):
            tree.hydra.job.id, tree.hydra.job.num = str(number), number
        return run_job(runs.job, tree, "hydra.sweep.dir", "hydra.sweep.subdir", self.hydra_context, False)
