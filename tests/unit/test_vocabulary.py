"""The project speaks the field's words: those that need decoding do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PLACES = ("raes", "benchmarks", "tests", "docs", "conf", "cluster", "examples", "README.md", "CONTRIBUTING.md")
ENDINGS = {".py", ".md", ".yaml", ".yml", ".sh", ".sbatch"}
SENTENCES = re.compile(
    r"\b(told|says|said|mend|mends|mended|mending|ails|ailed|in vain|nobody's business|wish|wishes|wished|beside|"
    r"ledger|keeper|verdicts?|condemned|behind Ray's door|see the module's docstring|(is|are|was|be) asked of|"
    r"(is|are|was|were|be|been) given up|gives up|gave up)\b",
    re.IGNORECASE,
)
"""What a reader of this field's documentation stumbles over."""
IDENTIFIERS = re.compile(
    r"\b(Point|Keeper|Ledger|Journal|Verdict|Heard|Edition|Parcel|Interest|Statement|Voice|Live|Commons|commons|"
    r"witness|_bury|_greet|_forgive|_told|_hear|planned|fitted|watched|lasting|settle|standing)\b"
)
"""Former names of this project."""
RATES = re.compile(
    r"\b(bytes|tables?|timesteps|steps|episodes?|evaluations?|pairs|results|frames|calls|records?|copy|once|twice) "
    r"(a|an) (node|episode|generation|second|worker|host)\b"
)
"""A rate is `per node`."""
ALLOWED = {("raes/storage/checkpoint.py", "verdicts")}
"""The name of the quarantine in checkpoints of RAES 0.1, which are still read."""


def files() -> list[Path]:
    found = [path for place in PLACES for path in [REPOSITORY / place, *(REPOSITORY / place).rglob("*")]]
    return [path for path in found if path.is_file() and path.suffix in ENDINGS and path != Path(__file__)]


@pytest.mark.parametrize("words", [SENTENCES, IDENTIFIERS, RATES], ids=["sentences", "identifiers", "rates"])
def test_no_word_that_needs_decoding(words: re.Pattern[str]) -> None:
    hits = []
    for path in files():
        name = str(path.relative_to(REPOSITORY))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            hits += [
                f"{name}:{number}: {match.group()}: {line.strip()[:80]}"
                for match in words.finditer(line)
                if (name, match.group()) not in ALLOWED
            ]
    assert not hits, "\n".join(hits[:40])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (SENTENCES, "The user is told of it."),
        (SENTENCES, "one node beside another"),
        (IDENTIFIERS, "class Keeper:"),
        (RATES, "one table a node"),
    ],
)
def test_the_patterns_find_what_they_are_for(words: re.Pattern[str], text: str) -> None:
    assert words.search(text)
