"""The newest snapshot of a model's weights, which the published versions of the model refer to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from raes.tasks import ModelVersion, Snapshot


class SharedWeights:
    """Cuts the log of updates of a version at the snapshot, and adds the snapshot's references."""

    def __init__(self, put: Callable[[Any], Any]) -> None:
        """No snapshot: versions begin with the run's first weights.

        Args:
            put: from a part of a file to a reference for workers.
        """
        self._put = put
        self._first, self._parts = 0, tuple[Any, ...]()

    def share(self, first: int, parts: Sequence[Any]) -> None:
        """Take another snapshot, which holds `first` updates."""
        self._first, self._parts = first, tuple(self._put(part) for part in parts)

    def with_parts(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot of a generation as it is published; one without a model as it is."""
        model = snapshot.model
        if model is None or model.first or model.updates < self._first:
            return snapshot
        log = model.log.part(self._first, len(model.log))
        return replace(snapshot, model=ModelVersion(self._first, log, self._parts, model.distrusted))
