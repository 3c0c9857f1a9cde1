"""The commands and programs in the documentation, and how tests run them.

Run are all blocks ```bash, ```console and ```python of the README, CONTRIBUTING.md, cluster/README.md and docs/, page
by page, one after the other, in one folder that holds what a checkout holds. Other blocks (```text, ```yaml) are not.

- In a ```console block the lines with `$ ` are commands, the others what they print.
- A ```python block whose first line is `# NAME.py` is that file, for the blocks after it; others are programs.
- `<!-- file: NAME.py from PAGE -->` makes such a file of another page.
- `<!-- not run: WHY -->` before a block: its commands are parsed and composed, and not run.

Commands run as they stand, in bash, but `python`, `pip`, `make` and `tensorboard` are those of `limits.py`, which keeps
them short: a training gets further keys behind its words, and so on.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "cluster/README.md", "cluster/OTHER.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
FENCE = re.compile(
    r"(?P<notes>(?:^<!--(?:(?!-->).)*-->\s*\n)*)"
    r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```\s*$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = re.compile(r"<!-- not run: ([^>]+) -->")
BORROWED = re.compile(r"<!-- file: (\S+) from (\S+) -->")
COMMAND = re.compile(r"python -m (?:raes\.\w+|benchmarks\b)[^`\n]*")


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        page: relative to the repository.
        line: of its fence.
        kind: `bash`, `console`, `python`, or another one.
        body: without the fence.
        excuse: why it is not run, or None.
    """

    page: str
    line: int
    kind: str
    body: str
    excuse: str | None

    @property
    def script(self) -> str:
        """The commands for bash."""
        if self.kind != "console":
            return self.body
        return "".join(line[2:] for line in _joined(self.body) if line.startswith("$ "))

    @property
    def file(self) -> str | None:
        """The name of the file that a Python block is."""
        first = re.match(r"# (\w+\.py)\n", self.body)
        return first[1] if first and self.kind == "python" else None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that are commands or programs, in order."""
    text, found = page.read_text(), []
    for fence in FENCE.finditer(text):
        excuse = NOT_RUN.search(fence["notes"])
        body = "".join(line.removeprefix(fence["indent"]) for line in fence["body"].splitlines(keepends=True))
        line = text.count("\n", 0, fence.start("kind")) + 1
        found.append(Block(_name(page), line, fence["kind"], body, excuse[1] if excuse else None))
    return found


def borrowed(page: Path) -> Iterator[tuple[str, str]]:
    """Name and content of the files that a page takes from other pages."""
    for name, other in BORROWED.findall(page.read_text()):
        yield name, next(block.body for block in blocks(REPOSITORY / "docs" / other) if block.file == name)


def commands(page: Path) -> list[list[str]]:
    """The module and arguments of every `python -m raes.NAME ...` or `python -m benchmarks ...` in a page.

    Blocks, tables and sentences count. Forms with `...`, NAME or PATH for what the reader puts in are left out.
    """
    text = page.read_text().replace("\\\n", " ")
    found = []
    for command in COMMAND.findall(text):
        words = shlex.split(re.split(r"\s+#|\s*[|&;>]", command)[0], comments=True)
        if not any("..." in word or "NAME" in word or "PATH" in word or word[:1] == "[" for word in words):
            found.append(words[2:])
    return found


def _joined(body: str) -> Iterator[str]:
    """Lines, those that end in a backslash with the next one."""
    yield from re.sub(r"\\\n", " ", body).splitlines(keepends=True)


def _name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))
