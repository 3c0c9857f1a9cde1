"""The documentation is true: its commands run, its programs too, its messages exist, its site builds."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from benchmarks.__main__ import BENCHES as DEVELOPERS_BENCHES
from raes.algorithms import ALGORITHMS
from raes.bench.__main__ import BENCHES
from raes.config.cli import arguments_of, parse
from raes.config.compose import checked, known_keys
from raes.config.compose import compose as compose_config
from raes.config.environment_word import with_presets
from raes.config.overrides import opened
from raes.config.schema import conf_dir
from raes.training.driver import Driver

from .browser import browser, console_errors, needs_browser
from .documented import PAGES, REPOSITORY, Block, blocks, borrowed, commands
from .helpers import SET_HERE, Commands, records_of

LIMITS = Path(__file__).with_name("limits.py")
PROGRAMS = {"raes.bench": BENCHES, "benchmarks": DEVELOPERS_BENCHES}
SECONDS = 240.0
"""How long one block may take on a busy machine."""
SEARCHED = {
    "learning rate": "Keys",
    "population size": "Keys",
    "checkpoint": "Resume a run",
    "GPU": "Models of any size",
}
"""What people type into the search, and a page that must be among its first three."""
RUN = ("bash", "console", "python")
UNLISTED = {"algorithm.name", "optimizer.name"}
"""Keys that are chosen with their group alone."""
NEEDED = ("README.md", "conf", "constraints.txt", "docs", "examples", "Makefile", "pyproject.toml", "raes", "results")


def name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


WITH_BLOCKS = [page for page in PAGES if page.exists() and any(block.kind in RUN for block in blocks(page))]


EXISTING = [page for page in PAGES if page.exists()]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that holds what a checkout holds, where commands may write."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for entry in NEEDED:
        source = REPOSITORY / entry
        if source.is_dir() and entry not in ("raes", "conf", "docs"):
            shutil.copytree(source, folder / entry)
        else:
            (folder / entry).symlink_to(source)
    return folder


@pytest.fixture
def shell(checkout: Path, ray_folder: Path) -> dict[str, str]:
    """The environment of the commands: ours first on the path."""
    bin_folder = checkout.parent / "bin"
    bin_folder.mkdir()
    for program in ("python", "pip", "make", "tensorboard"):
        path = bin_folder / program
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{LIMITS}" {program} "$@"\n')
        path.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(SET_HERE)}
    return kept | {
        "PATH": f"{bin_folder}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "RAY_TMPDIR": str(ray_folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "MPLBACKEND": "agg",
    }


def run(block: Block, checkout: Path, environment: dict[str, str]) -> None:
    """Run one block to its end."""
    if block.file is not None:
        (checkout / block.file).write_text(block.body)
    script = checkout.parent / ("block.py" if block.kind == "python" else "block.sh")
    script.write_text(block.body if block.kind == "python" else f"set -euo pipefail\n{block.script}")
    words = [sys.executable, str(script)] if block.kind == "python" else ["bash", str(script)]
    path = os.pathsep.join([str(checkout), environment["PYTHONPATH"]])
    start = sum(os.times()[2:4])
    done = subprocess.run(
        words, cwd=checkout, env=environment | {"PYTHONPATH": path}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    print(f"{block.page}:{block.line} took {sum(os.times()[2:4]) - start:.1f} CPU seconds")
    output = f"{block.body}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, f"{block.page}:{block.line} ends with {done.returncode}\n{output}"


@pytest.mark.documentation
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name)
def test_the_blocks_of_a_page_run(page: Path, checkout: Path, shell: dict[str, str]) -> None:
    for file, body in borrowed(page):
        (checkout / file).write_text(body)
    for block in blocks(page):
        if block.kind in RUN and block.excuse is None:
            run(block, checkout, shell)


def test_generated_tables_are_those_of_the_code_and_the_results() -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "docs" / "build" / "generate.py"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


BASES: tuple[tuple[str, ...], ...] = (
    ("env=gymnasium", "env.id=CartPole-v1"),
    *(("env=gymnasium", "env.id=CartPole-v1", f"algorithm={name}") for name in ALGORITHMS if name != "custom"),
    ("env=gymnasium", "env.id=CartPole-v1", "algorithm=custom", "algorithm.module=a:B"),
    ("env=gymnasium", "env.id=CartPole-v1", "optimizer=clipup"),
    ("env=gymnasium", "env.id=CartPole-v1", "policy=torch", "policy.module=a:B"),
    ("env=atari", "env.game=pong"),
    ("env=function", "env.call=a:f", "env.dim=3"),
    ("env=module", "env.build=a:build", "env.reward=a:reward", "env.tasks=a:tasks"),
)
"""Command lines that have all keys between them."""
MODEL = """
import torch

def build():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)

def reward(model):
    return -float(model.weight.square().sum())
"""


def test_the_example_of_every_key_is_taken() -> None:
    """And there is no example of a key that there is not."""
    notes = yaml.safe_load((REPOSITORY / "docs" / "build" / "keys.yaml").read_text())
    having = {key: base for base in reversed(BASES) for key in known_keys(base)}
    having["runtime.gpus_per_worker"] = BASES[-1]  # the others use no GPU
    assert notes.keys() == {key for key in having if not key.startswith("hydra.")} - UNLISTED
    for key, (meaning, example, reason) in notes.items():
        (word,) = shlex.split(example)
        assert word.partition("=")[0] in (key, key.removesuffix(".name")), example
        if word != "env.dim=10":
            compose_config([*having[key], word])
        assert meaning.endswith("."), key
        assert reason[-1] not in ".,", key


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("bash", "python -m raes.train env=Hopper algorithm.sigm=1 | cat\necho on\n"),
        ("console", "$ tensorboard --logdir nothing\n"),
        ("bash", "pip install -e '.[no_extra]'\nmake test\n"),
        ("bash", "make no_target\n"),
        ("python", "import raes\n\nraes.no_such_name()\n"),
    ],
)
def test_a_block_that_fails_is_found(kind: str, body: str, checkout: Path, shell: dict[str, str]) -> None:
    with pytest.raises(AssertionError, match="ends with"):
        run(Block("made.md", 1, kind, body, None), checkout, shell)


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=name)
def test_blocks_that_are_not_run_have_a_reason_and_can_be_read(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        assert block.kind, f"{block.page}:{block.line} has no language; text is one"
        assert block.excuse is None or len(block.excuse) > 10
        if block.kind in ("bash", "console"):
            subprocess.run(["bash", "-n"], input=block.script, text=True, check=True)
            assert block.script.strip(), f"{block.page}:{block.line} holds no command"
        elif block.kind == "python":
            ast.parse(block.body)


@pytest.mark.parametrize("page", EXISTING, ids=name)
def test_every_command_is_understood(page: Path) -> None:
    for words in commands(page):
        understand(words)


def test_the_commands_of_the_results_are_understood() -> None:
    for path in sorted((REPOSITORY / "results").glob("*.json")):
        report = json.loads(path.read_text())
        if isinstance(report, dict) and "command" in report:
            _, first, *others = shlex.split(report["command"])
            if first == "-m":
                understand(others)
            else:
                assert (REPOSITORY / first).is_file(), report["command"]


@pytest.mark.parametrize(
    "words",
    [
        "raes.train env=Hoper", "raes.train env=Hopper algorithm.sigm=1", "raes.train env=Hopper seed=x",
        "raes.train -m env=Hopper algorithm=es,no", "raes.evaluate run=x", "raes.bench rolout", "raes.no_command",
    ],
)  # fmt: skip
def test_a_wrong_command_would_be_found(words: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        understand(words.split())


@functools.cache
def composed(job: tuple[str, ...]) -> None:
    """Compose the configuration of a training; pages name many a command twice."""
    with initialize_config_dir(str(conf_dir().resolve()), version_base="1.3"):
        checked(compose("config", overrides=list(job)), job)


def understand(words: list[str]) -> None:
    """Compose the configuration of a training, parse the words of another command, as they stand."""
    module, *rest = words
    if module in ("raes.train", "raes.doctor"):
        rest = [
            word
            for word in rest
            if not word.startswith(("-", "out=", "hydra.")) and word not in ("job", "hydra", "all")
        ]
        rest = [opened(word) for word in with_presets(rest)]
        sweep = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(rest), None)
        for job in {tuple(word for word in job if word[:5] != "seed="): tuple(job) for job in sweep[0]}.values():
            composed(job)
        return
    if "--help" in rest or not rest:
        assert importlib.util.find_spec(module)
        return
    if module in PROGRAMS:
        name, *rest = rest
        module = PROGRAMS[module][name].module
    command = importlib.import_module(module)
    if hasattr(command, "__path__"):  # a package
        command = importlib.import_module(f"{module}.__main__")
    if hasattr(command, "split"):  # words that are no keys, before the keys
        _, rest = command.split(rest)
    parse(arguments_of(command), rest, module, None)


# What a page states about the code.


def texts() -> list[str]:
    """All texts in the code, with … for what differs."""
    found = []
    for path in (REPOSITORY / "raes").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def quoted(page: Path) -> list[str]:
    """The messages that a page quotes: the code in the first column of tables headed `message`, and any with …"""
    text = page.read_text()
    tables = re.findall(r"^\| message \|.*\n\|[- |]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    found = [re.match(r"\| `(.*)` \| ", row) for table in tables for row in table.splitlines()]
    return [one[1] for one in found if one] + re.findall(r"log has `([^`]*…[^`]*)`", " ".join(text.split()))


def in_code(message: str, known: list[str]) -> bool:
    pieces = [re.escape(piece.strip()) for piece in message.split("…") if piece.strip(" ;,.:")]
    pattern = re.compile(r".*?".join(pieces), re.DOTALL)
    return any(pattern.search(text) for text in known)


def test_every_quoted_message_is_in_the_code() -> None:
    known = texts()
    messages = [message for page in EXISTING for message in quoted(page)]
    assert len(messages) > 30
    assert [message for message in messages if not in_code(message, known)] == []
    assert not in_code("run_dir=… holds a cat already", known)


def test_the_loop_on_the_page_is_that_of_the_driver() -> None:
    loops = [block.body for block in blocks(REPOSITORY / "docs" / "how-it-works.md") if block.kind == "python"]
    assert loops == [textwrap.dedent(inspect.getsource(Driver._search))]


def test_the_metrics_of_runs_are_those_of_the_page(module_commands: Commands) -> None:
    text = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text()
    documented = set(re.findall(r"`((?:returns|episode|eval|search|progress|speed|pool|faults)/\w+)`", text))
    written: set[str] = set()
    small = ("env=Pendulum", "runtime=serial", "generations=3", "evaluation.episodes=2", "console=quiet",
             "noise.size=50000", "algorithm.episode_cap.kind=fixed", "algorithm.episode_cap.steps=30")  # fmt: skip
    for algorithm in ("es", "pgpe", "nsra_es", "ga", "xnes", "random_search", "canonical_es", "surrogate"):
        size = "pairs" if algorithm in ("es", "pgpe", "nsra_es") else "population"
        words = [f"algorithm={algorithm}", f"algorithm.{size}=6", f"run_dir={algorithm}"]
        words += ["algorithm.parents=3", "algorithm.candidates=2"] if algorithm == "ga" else []
        words += ["policy=linear"] if algorithm in ("xnes", "surrogate") else []
        module_commands.run(*small, *words)
        written |= {key for record in records_of(module_commands.cwd / algorithm) for key in record}
    (module_commands.cwd / "my_model.py").write_text(MODEL)
    words = ("env=module", "env.build=my_model:build", "env.reward=my_model:reward", "runtime=serial", "console=quiet")
    module_commands.run(*words, "generations=2", "algorithm.pairs=2", "run_dir=model")
    written |= {key for record in records_of(module_commands.cwd / "model") for key in record}
    assert written - documented == set()
    assert documented - written <= {"progress/frames", "speed/ray_bytes_per_episode"}


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; a link or an anchor that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder], cwd=REPOSITORY, text=True,
        capture_output=True, check=False, env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.documentation
def test_the_site_needs_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(
        r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=\"?(https?:)?//|<link\b[^>]*\bhref=\"?https?://"
    )
    for page in pages:
        for found in loaded.finditer(page.read_text()):
            assert 'rel="canonical"' in found[0], f"{page.name}: {found[0]}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import\s+['\"]https?:", style.read_text()), style


@pytest.mark.documentation
@needs_browser
def test_the_search_of_a_page_from_a_folder_finds_what_people_look_for(site: Path, tmp_path: Path) -> None:
    """As a reader without a server has it; and nothing fails to load."""
    with browser(tmp_path) as driver:
        for phrase, page in SEARCHED.items():
            driver.get(f"file://{site}/methods/es.html")
            box = WebDriverWait(driver, 30).until(lambda one: one.find_element("css selector", ".md-search__input"))
            box.click()
            box.send_keys(phrase)
            WebDriverWait(driver, 30).until(lambda one, page=page: page in hits(one)[:3])
        assert console_errors(driver) == []


def hits(driver: WebDriver) -> list[str]:
    """The titles of the pages that the search has found, best first."""
    return [one.text for one in driver.find_elements("css selector", ".md-search-result__item h1")]


def test_formulas_tables_and_curves_are_made(site: Path) -> None:
    page = (site / "methods" / "es.html").read_text()
    assert "<math" in page
    assert "arithmatex" not in page
    assert "algorithm.pairs" in page
    assert "<!-- made" not in "".join(path.read_text() for path in site.rglob("*.html"))
    listed = (site / "reference" / "commands.html").read_text()
    assert all(f"python -m {program} {name}" in listed for program, benches in PROGRAMS.items() for name in benches)
    [picture] = re.findall(r'src="(\S+Swimmer\S+\.png)"', page)
    assert (site / "methods" / picture).resolve().read_bytes().startswith(b"\x89PNG")


def test_links_to_other_sites_are_well_formed() -> None:
    """They cannot be reached from everywhere that tests run: only their form is looked at."""
    for page in EXISTING:
        for address in re.findall(r"\]\((https?:[^)\s]*)\)", page.read_text()):
            assert re.fullmatch(r"https://[\w.-]+\.[a-z]{2,}(/[\w./%~+-]*)?", address), f"{name(page)}: {address}"
