"""Nodes on which a pool starts nothing for a while, because what it started there was lost or refused to work."""

from __future__ import annotations


class BlockedNodes:
    """The blocked nodes of a pool, and the reasons that the user has been notified of."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._reasons: dict[str, str] = {}

    def __contains__(self, node: str) -> bool:
        return node in self._until

    def block(self, node: str, until: float) -> None:
        """Start nothing on a node until this time of the pool's clock."""
        self._until[node] = until

    def release(self, now: float) -> bool:
        """Unblock the nodes whose time has come: what went wrong there may have passed. Whether there was one."""
        still = {node: until for node, until in self._until.items() if until > now}
        changed, self._until = len(still) < len(self._until), still
        return changed

    def is_new_reason(self, node: str, reason: str) -> bool:
        """Whether the user has not been notified of this reason yet; each is logged once, not at every attempt."""
        known = self._reasons.get(node) == reason
        self._reasons[node] = reason
        return not known

    def forget_reason(self, node: str) -> None:
        """The node works again: its next failure is news, whatever the reason."""
        self._reasons.pop(node, None)
