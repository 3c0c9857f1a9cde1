"""Whether all workers of a run compute the same bits."""

from __future__ import annotations

from raes.runtime.packages import CURE


class Digests:
    """The different digests of the workers' arithmetic, as `Worker.digest` computes them at a worker's start."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    @property
    def seen(self) -> tuple[str, ...]:
        """One digest of each kind, with the machine that first reported it."""
        return tuple(self._known.values())

    def add(self, digest: str) -> str | None:
        """Record a worker's digest; a warning where it differs from the ones before."""
        bits, _, rest = digest.partition(" ")
        kind = f"{bits} {rest.partition('(')[2]}"  # arithmetic and libraries, not the machine's name
        if kind in self._known:
            return None
        others, same_bits = ", ".join(self._known.values()), any(bits == known.split()[0] for known in self._known)
        self._known[kind] = digest
        if not others:
            return None
        if same_bits:
            return (
                "warning: the workers have different libraries. They agreed on a short episode, but other results may "
                f"depend on which worker runs them: {digest} against {others}; {CURE}"
            )
        return (
            "warning: the workers compute different bits, so the result depends on which worker runs an episode: "
            f"{digest} against {others}; use nodes of one CPU type with the same packages, and an "
            "environment that draws its random numbers from self.np_random"
        )
