"""Notices that a run goes on with another arithmetic: another processor, BLAS kernel or library than before."""

from __future__ import annotations

from collections.abc import Iterable

from raes.runtime.digests import DRIVER, driver_digest, kind_of
from raes.runtime.executor import Executor

CONSEQUENCE = "from here the bits may differ from those of a run that stayed as it was (faults/may_differ counts it)"


class ArithmeticWatch:
    """Compares the digests of driver and workers with all those that the run has been computed with so far."""

    def __init__(self, executor: Executor, earlier: Iterable[str]) -> None:
        """Take in what the executor knows already.

        Args:
            executor: whose digests are read.
            earlier: `known` of the checkpoint that the run goes on from; empty for a new run, or where the checkpoint
                does not say.
        """
        self._executor = executor
        self._earlier = {kind_of(digest): digest for digest in earlier}
        self._known = dict(self._earlier)
        self._read, self._said = 0, False
        self._driver = driver_digest()

    @property
    def known(self) -> list[str]:
        """One digest of each kind."""
        return list(self._known.values())

    def look(self) -> list[str]:
        """What has changed since the last look; the bits of the run may differ from there on.

        Returns:
            A line for each change; an empty one where the pool itself warns of workers that differ.
        """
        digests = (self._driver, *self._executor.digests)
        if len(digests) == self._read:
            return []
        self._read = len(digests)
        changes = []
        for digest in digests:
            kind = kind_of(digest)
            if kind in self._known:
                continue
            before = [one for one in self._known.values() if one.startswith(DRIVER) == digest.startswith(DRIVER)]
            self._known[kind] = digest
            if not before:
                continue
            if kind_of(before[0]) not in self._earlier:
                changes.append("")
            elif not self._said:  # once for driver and workers
                self._said = True
                text = f"warning: this run was computed with {', '.join(before)} so far, and goes on with {digest}"
                changes.append(f"{text}; {CONSEQUENCE}")
        return changes
