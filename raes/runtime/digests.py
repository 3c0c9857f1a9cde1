"""Whether all workers of a run compute the same bits."""

from __future__ import annotations


class Digests:
    """What the workers said of their arithmetic at their start; see `Worker.digest`."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    @property
    def seen(self) -> tuple[str, ...]:
        """One digest of each kind, with the machine that first had it."""
        return tuple(self._known.values())

    def add(self, digest: str) -> str | None:
        """Take note of a worker's digest; a warning where it is of a new kind and not the first."""
        kind = digest.split()[0]
        if kind in self._known:
            return None
        others = ", ".join(self._known.values())
        self._known[kind] = digest
        if not others:
            return None
        return (
            "warning: the workers compute different bits, so the result depends on which worker runs an episode: "
            f"{digest} against {others}; use nodes of one CPU type with the same packages"
        )
