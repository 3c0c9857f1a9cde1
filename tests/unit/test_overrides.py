"""Words of the command line: a key that holds a text has the text as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from raes.config.compose import compose
from raes.config.overrides import HYDRA_OPTIONS, opened, refuse_dashes, refuse_spaces
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
    "key", ["run_dir", "resume", "start_from", "upload.spool", "behavior", "env.call", "env.constraints", "ray.address"]
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "CartPole"], "--env CartPole: settings have no dashes; give env=CartPole"),
        (["--env=CartPole"], "--env=CartPole: settings have no dashes; give env=CartPole"),
        (["seed=1", "--max-minutes", "3"], "--max-minutes 3: settings have no dashes; give max_minutes=3"),
        (["-workers", "seed=1"], "-workers: settings have no dashes; give workers=..."),
        (["--verbose"], "--verbose: settings have no dashes; give verbose=..."),
    ],
)
def test_settings_written_as_options_are_refused_with_what_to_write(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        refuse_dashes(words)


@pytest.mark.parametrize(
    ("words", "shown"),
    [(["env", "=", "CartPole"], "env ="), (["env =CartPole"], "env =CartPole"), (["seed=1", "=3"], "seed=1 =3")],
)
def test_spaces_around_the_equals_sign_are_named(words: list[str], shown: str) -> None:
    with pytest.raises(UserError, match=f"^{shown}: write key=value without spaces around =$"):
        refuse_spaces(words)


def test_the_options_of_hydra_are_those_that_it_has() -> None:
    assert set(get_args_parser()._option_string_actions) == HYDRA_OPTIONS
    refuse_dashes(["-m", "--cfg", "job", "env=CartPole"])


@pytest.mark.parametrize("word", ["CartPole", "CartPole-v1", "ALE/Pong-v5"])
def test_an_environment_without_its_key_is_recognised(word: str) -> None:
    with pytest.raises(UserError, match=f"^{word}: give key=value, such as env={word};"):
        compose([word])
