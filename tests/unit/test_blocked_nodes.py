"""Nodes that a pool leaves alone for a while."""

from __future__ import annotations

from raes.runtime.blocked_nodes import BlockedNodes


def test_a_node_is_blocked_until_its_time_has_come() -> None:
    blocked = BlockedNodes()
    blocked.block("a", until=10.0)
    blocked.block("b", until=20.0)
    assert not blocked.release(9.9)
    assert "a" in blocked
    assert blocked.release(10.0)
    assert "a" not in blocked
    assert "b" in blocked


def test_a_later_block_replaces_an_earlier_one() -> None:
    blocked = BlockedNodes()
    blocked.block("a", until=30.0)
    blocked.block("a", until=2.0)
    assert blocked.release(2.0)
    assert "a" not in blocked


def test_a_reason_is_new_once_per_node_until_it_is_forgotten() -> None:
    blocked = BlockedNodes()
    assert blocked.is_new_reason("a", "no package")
    assert not blocked.is_new_reason("a", "no package")
    assert blocked.is_new_reason("b", "no package")
    assert blocked.is_new_reason("a", "no memory")
    blocked.forget_reason("a")
    assert blocked.is_new_reason("a", "no memory")
