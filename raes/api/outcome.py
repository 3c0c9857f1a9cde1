"""From the progress of a search of a function to its result."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raes.api.optimizer import Optimizer
from raes.api.optimum import MESSAGES, Optimum, Status
from raes.api.progress import Progress
from raes.types import Float64

DETAILED = (Status.CONVERGED, Status.ERROR)
"""Those that have more to say than what they are."""


def outcome(
    progress: Progress,
    optimizers: Sequence[Optimizer],
    sign: float,
    aimed: bool,
    x0: Float64,
    status: Status,
    detail: str = "",
) -> Optimum:
    """The result; its distribution is that of the run that has found the best point.

    Args:
        progress: how far the search is.
        optimizers: one for each run, at any state.
        sign: -1 where small values are good.
        aimed: whether there is a target.
        x0: float64 (d,), for want of a better point.
        status: why it ends.
        detail: of an error.
    """
    found, best = progress.found, progress.best_run
    if found is None and status in (Status.BUDGET, Status.CONVERGED, Status.TIME):
        status = Status.NOT_FINITE
    as_meant = status in (Status.CONVERGED, Status.CALLBACK) or (status in (Status.BUDGET, Status.TIME) and not aimed)
    optimizer, state = optimizers[best], progress.runs[best].state
    message = MESSAGES[status] + (f": {detail or state.ended}" if status in DETAILED else "")
    return Optimum(
        x=x0.copy() if found is None else found.copy(),
        fun=math.nan if found is None else sign * progress.best_fitness,
        nfev=progress.calls,
        nit=progress.generations,
        success=bool(found is not None and (status is Status.TARGET or as_meant)),
        status=int(status),
        message=message,
        center=optimizer.center(state),
        std=optimizer.std_of(state),
        covariance=optimizer.covariance_of(state),
        restarts=sum(run.state.run.number - one.first for run, one in zip(progress.runs, optimizers, strict=True)),
        ended=state.ended,
        failures=progress.failures,
        first_failure=progress.first_failure or None,
        algorithm=optimizer.algorithm,
        history=(progress.improved_at.copy(), sign * progress.improved_to),
    )
