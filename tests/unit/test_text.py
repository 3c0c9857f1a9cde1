"""Text from outside in messages: one line, nothing that a terminal obeys, bounded; and it never fails."""

from __future__ import annotations

import io
import sys

import pytest

from raes.config.compose import compose
from raes.config.schema import from_tree
from raes.console.colours import GREEN
from raes.console.output import show
from raes.console.screen import Plain
from raes.console.tables import Column, Section, table
from raes.text import KEPT, SHOWN, described, markdown, message, one_line, printable
from raes.types import UserError


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class SilentError(Exception):
    def __str__(self) -> str:
        raise SystemExit


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("as it is: ä 中 😀 $x_1$", "as it is: ä 中 😀 $x_1$"),
        ("\x1b]0;title\x07\x1b[2J", r"\x1b]0;title\x07\x1b[2J"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x9b31m", r"\x9b31m"),
        ("one\r\ntwo\x85three\u2028four\x0bfive\tsix", "one two three four five six"),
        ("left\u202eright\u2066", r"left\u202eright\u2066"),
        ("caf\udce9", r"caf\udce9"),
        ("a\0b\x7f", r"a\x00b\x7f"),
        ("", ""),
    ],
)
def test_a_text_is_one_line_that_can_be_printed(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert one_line(text).isprintable()
    one_line(text).encode()  # raises nothing


def test_a_long_text_is_cut_and_says_so() -> None:
    assert one_line("x" * SHOWN) == "x" * SHOWN
    assert one_line("x" * (SHOWN + 1)) == "x" * SHOWN + " ... (1,001 characters in all)"
    assert len(one_line("\x1b" * 5_000_000)) < SHOWN + 50
    assert len(one_line(" " * 5_000_000 + "x")) < 50
    assert len(described(RuntimeError("ab " * 2_000_000), KEPT)) < KEPT + 50


def test_the_text_of_an_exception_can_always_be_had() -> None:
    assert described(RuntimeError("the joint\ncame off")) == "RuntimeError: the joint came off"
    assert described(KeyError()) == "KeyError"
    assert described(UnprintableError()) == "UnprintableError: its text cannot be had: RuntimeError"
    assert described(SilentError()) == "SilentError: its text cannot be had: SystemExit"
    assert one_line(UnprintableError()) == "its text cannot be had: RuntimeError"
    assert described(type("Bad\nraes: done", (Exception,), {})("x")) == "Bad raes: done: x"


def test_the_lines_of_a_message_stay_and_none_looks_like_another_message() -> None:
    assert message("algorithm.sigma=-1: must be positive\nseed=x: must be\n") == (
        "algorithm.sigma=-1: must be positive\n  seed=x: must be"
    )
    assert message("first\n  second") == "first\n  second"
    assert message("run_dir=a  b") == "run_dir=a  b"  # a command in it can be copied
    assert message("x\nraes: done\x1b[2J") == "x\n  raes: done\\x1b[2J"
    assert len(message("x" * 10_000_000)) < 100_000


def test_screens_and_tables_print_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    Plain(stream).line("x\rraes: done\x1b[2J")
    assert stream.getvalue() == "x raes: done\\x1b[2J\n"
    monkeypatch.setattr(sys, "stdout", stream)
    show("a\x1b[2J\nb\x1b[0m", GREEN, "  label ")
    assert stream.getvalue().endswith("\n  label a\\x1b[2J\n  b\n")  # a pipe: no colour
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    show("a\x1b[2J\nb\x1b[0m", GREEN, "  label ")
    assert stream.getvalue().endswith("\n  label \x1b[1;32ma\\x1b[2J\n  b\x1b[0m\n")
    rows = [{"name": "a\nb\x1b[2J"}]
    assert table(Section("key", "title", [Column("name", "name")], rows)).splitlines() == ["name", r"a b\x1b[2J"]


def test_markdown_shows_a_text_as_it_stands() -> None:
    assert markdown("a|b\n<img src=x>*_`[y](z)") == r"a\|b &lt;img src=x&gt;\*\_\`[y]\(z\)"
    assert printable("a\tb") == "a b"


def test_a_configuration_of_wrong_keys_is_a_message_of_some_lines() -> None:
    tree = compose(["env=CartPole"]).as_dict()
    tree |= {f"bad{number}\x1b[2J": "x" * 100_000 for number in range(100)} | {"seed": "y" * 100_000}
    with pytest.raises(UserError) as caught:
        from_tree(tree)
    lines = message(str(caught.value)).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "  and 81 more"
    assert all(line.isprintable() and len(line) < 2_000 for line in lines)
