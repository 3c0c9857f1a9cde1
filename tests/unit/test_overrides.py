"""Words of the command line: a key that holds a text has the text as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from raes.config.compose import compose
from raes.config.overrides import opened
from raes.train import hydra_words
from raes.types import UserError


def values(word: str, sweep: bool = False) -> list[str]:
    """What Hydra reads in an override; several values of a sweep."""
    override = OverridesParser.create().parse_override(opened(word, sweep))
    if override.is_sweep_override():
        return [one.strip("'") for one in override.sweep_string_iterator()]
    return [override.value()]


@pytest.mark.parametrize(
    "text",
    ["123", "über", "a: b", "a=0,b.c=0.1", "it's", "a{b", "~/x", "1e3", "true", "[::1]:6379", "back\\"],
)
@pytest.mark.parametrize(
    "key", ["run_dir", "resume", "start_from", "upload.spool", "behavior", "env.call", "ray.address"]
)
def test_a_text_is_taken_as_it_stands(key: str, text: str) -> None:
    assert values(f"{key}={text}") == [text]


@given(st.text(st.characters(exclude_categories=("C",)), min_size=1).filter(lambda text: text[0] not in "'\""))
def test_any_text_is(text: str) -> None:
    if text.strip() and text != "null":
        assert values(f"run_dir={text}") == [text]


@pytest.mark.parametrize("text", ["runs/a-1_2.3", "s3://bucket/x", "auto", "module:name", "runs/${seed}"])
def test_what_hydra_reads_rightly_stays(text: str) -> None:
    assert opened(f"run_dir={text}") == f"run_dir={text}"


def test_null_and_quotes_mean_what_they_mean_to_hydra() -> None:
    assert opened("run_dir=null") == "run_dir=null"
    assert opened("run_dir='läufe'") == "run_dir='läufe'"
    assert values("run_dir='läufe'") == ["läufe"]


def test_in_a_sweep_commas_separate_unless_there_is_such_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert values("start_from=a=1,über,3", sweep=True) == ["a=1", "über", "3"]
    assert values("start_from=choice(a,b)", sweep=True) == ["a", "b"]
    Path("a=1,über").mkdir()
    assert values("start_from=a=1,über", sweep=True) == ["a=1,über"]


def test_the_record_of_a_sweep_lies_in_its_folder() -> None:
    assert hydra_words(["seed=0,1", "-m", "run_dir=runs/x"]) == [
        "-m", "seed=0,1", "run_dir=runs/x", "hydra.sweep.dir=runs/x"
    ]  # fmt: skip
    for where in ("run_dir=a,b", "run_dir=s3://bucket/x", "run_dir=null", "seed=3"):
        assert hydra_words(["-m", where]) == ["-m", where]
    assert hydra_words(["run_dir=runs/x"]) == ["run_dir=runs/x"]


def test_the_folder_of_a_user_that_there_is_not_is_named() -> None:
    with pytest.raises(UserError, match="run_dir=~no_such_user/x: there is no user no_such_user; name a folder"):
        compose(["run_dir=~no_such_user/x"])
