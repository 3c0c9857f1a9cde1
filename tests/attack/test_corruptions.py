"""What damaged and forged run directories do to the commands that read them: a table.

Each row holds what a resume and an evaluation must do: go on to the bits of a run that nobody has touched, or end with
exit code 2 and one message. No row ends in a traceback, and none deletes what could not be used.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from integration.helpers import SERIAL, Commands

from raes.storage.checkpoint import Checkpoints
from raes.storage.metrics import read_records

from .damage import (
    ARRAYS,
    NEWEST,
    QUARANTINE,
    STATE,
    Damage,
    add,
    all_of,
    configured,
    cut,
    flip,
    folder,
    forged,
    forged_arrays,
    forged_header,
    link,
    missing,
    newer,
    pipe,
    put,
)

pytestmark = pytest.mark.attack

WORDS = (*SERIAL, "console=plain", "checkpoint.every=1", "evaluation.every=2", "run_dir=run")
GOES_ON = ""
"""In the place of a fragment of a message: the command works."""
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
NOT_COMPLETE = "not a complete checkpoint"

ROWS: list[tuple[str, Damage, str, str]] = [
    # name, damage, a fragment of the message of a resume, and of an evaluation of the latest checkpoint
    ("state cut", cut(STATE), GOES_ON, NOT_COMPLETE),
    ("state empty", put(STATE, ""), GOES_ON, NOT_COMPLETE),
    ("state binary", put(STATE, b"\xff\x00{"), GOES_ON, NOT_COMPLETE),
    ("state a list", put(STATE, "[1]"), GOES_ON, NOT_COMPLETE),
    ("state deep", put(STATE, "[" * 100_000), GOES_ON, NOT_COMPLETE),
    ("state flipped", flip(STATE), GOES_ON, NOT_COMPLETE),
    ("state of a newer RAES", newer, "schema version 99", "schema version 99"),
    ("state missing", missing(STATE), GOES_ON, "state.json is missing"),
    ("state a folder", folder(STATE), GOES_ON, NOT_COMPLETE),
    ("state a pipe", pipe(STATE), GOES_ON, NOT_COMPLETE),
    ("state of another generation", forged(generation=77), GOES_ON, "it is of generation 77"),
    ("state of generation true", forged(generation=True), GOES_ON, "names no generation"),
    ("state without configuration", forged(config=7), GOES_ON, "no configuration"),
    ("state without progress", forged(progress=None), "progress", "progress"),
    ("state with odd progress", forged(progress__timesteps="many"), "progress.timesteps", "progress.timesteps"),
    ("state with odd seconds", forged(seconds="long"), "seconds", "seconds"),
    ("state with odd faults", forged(faults=[1]), "faults", "faults"),
    ("state without noise", forged(noise_fingerprint=None), "noise_fingerprint", "noise_fingerprint"),
    ("state of other noise", forged(noise_fingerprint="0" * 16), "another noise table", GOES_ON),
    ("state with odd search", forged(search=[]), "holds no search", "holds no search"),
    ("state without a number", forged(search__generation=None), "generation", "generation"),
    ("state with an odd number", forged(search__generation="4"), "generation is '4'", "generation is '4'"),
    ("state of other updates", forged(search__generation=3), "3 updates", "3 updates"),
    ("state with odd quarantine", forged(quarantine=[{"generation": 0}]), "quarantine", "quarantine"),
    ("arrays cut", cut(ARRAYS), GOES_ON, "checksum"),
    ("arrays flipped", flip(ARRAYS), GOES_ON, "checksum"),
    ("arrays missing", missing(ARRAYS), GOES_ON, "arrays.npz is missing"),
    ("arrays a folder", folder(ARRAYS), GOES_ON, "arrays.npz is missing"),
    ("arrays empty", forged_arrays(dict.clear), GOES_ON, "no theta"),
    ("theta float64", forged_arrays(lambda a: a.update(theta=a["theta"].astype(float))), GOES_ON, "no theta"),
    ("theta a matrix", forged_arrays(lambda a: a.update(theta=a["theta"][None])), GOES_ON, "no theta"),
    ("theta longer", forged_arrays(lambda a: a.update(theta=np.zeros(99, "f"))), "99 parameters", "optimizer/first"),
    (
        "all longer",
        forged_arrays(lambda a: a.update({k: np.zeros(99, "f") for k in a if a[k].dtype == "f"})),
        "99 parameters",
        "99 parameters",
    ),
    ("a moment missing", forged_arrays(lambda a: a.pop("optimizer/first")), "optimizer/first", "optimizer/first"),
    ("moments float64", forged_arrays(lambda a: a.update({"optimizer/first": np.zeros(10)})), "first", "first"),
    (
        "other observations",
        forged_arrays(lambda a: a.update({k: np.ones(9) for k in a if "observations" in k})),
        "observations of 9 numbers",
        "observations of 9 numbers",
    ),
    ("a pickle", forged_arrays(lambda a: a.update(theta=np.array([print]))), GOES_ON, "allow_pickle=False"),
    ("an immense theta", forged_header((1 << 50,)), GOES_ON, NOT_COMPLETE),
    ("an impossible theta", forged_header((1 << 62, 1 << 62)), GOES_ON, NOT_COMPLETE),
    (
        "a bomb of zeros",
        forged_arrays(lambda a: a.update(theta=np.broadcast_to(np.float32(0), 300 << 20)), compressed=True),
        GOES_ON,
        "would grow to",
    ),
    ("latest binary", put("checkpoints/latest", b"\xff\xfe\x00"), GOES_ON, "names no checkpoint"),
    ("latest leads out", put("checkpoints/latest", "../../../etc\n"), GOES_ON, "names no checkpoint"),
    ("latest absolute", put("checkpoints/latest", "/etc\n"), GOES_ON, "names no checkpoint"),
    ("latest immense", put("checkpoints/latest", "gen_" + "9" * 5000), GOES_ON, "names no checkpoint"),
    ("latest in other digits", put("checkpoints/latest", "gen_٠٠٠٠٠٤"), GOES_ON, "names no checkpoint"),
    ("latest of nothing", put("checkpoints/latest", "gen_000099\n"), GOES_ON, "there is no gen_000099"),
    ("latest a folder", folder("checkpoints/latest"), "latest", "holds no checkpoint"),
    ("best leads out", put("checkpoints/best", "../../x\n"), GOES_ON, GOES_ON),
    ("quarantine broken", put(QUARANTINE, "{"), GOES_ON, NOT_COMPLETE),
    ("quarantine a list", put(QUARANTINE, "[]"), GOES_ON, NOT_COMPLETE),
    ("metrics binary", put("metrics.jsonl", b"\xff\xfe\x00\n" * 3), GOES_ON, GOES_ON),
    ("metrics foreign", add("metrics.jsonl", b'[1]\n{"a": 1}\n"x"\n{"progress/generation": "x"}\n'), GOES_ON, GOES_ON),
    ("metrics cut", cut("metrics.jsonl"), GOES_ON, GOES_ON),
    ("metrics missing", missing("metrics.jsonl"), GOES_ON, GOES_ON),
    ("metrics infinite", add("metrics.jsonl", b'{"progress/generation": 3, "a": 1e999, "b": %d}\n' % 10**400),
     GOES_ON, GOES_ON),
    ("metrics deep", add("metrics.jsonl", b"[" * 100_000 + b"\n"), GOES_ON, GOES_ON),
    ("config missing", missing("config.yaml"), GOES_ON, "no run of RAES"),
    ("config binary", put("config.yaml", b"\xff\xfe\x00"), GOES_ON, "cannot be read"),
    ("config empty", put("config.yaml", ""), GOES_ON, "cannot be read"),
    ("config a list", put("config.yaml", "- 1\n"), GOES_ON, "holds no keys"),
    ("config a bomb", put("config.yaml", BOMB), GOES_ON, "aliases"),
    ("config immense", configured("", "x: " + "y" * (1 << 20)), GOES_ON, "1,0"),
    ("config deep", put("config.yaml", "[" * 10_000), GOES_ON, "cannot be read"),
    ("config tagged", put("config.yaml", "a: !!python/object/apply:os.system [ls]\n"), GOES_ON, "cannot be read"),
    ("config with other keys", configured("", "evil: 1\n"), GOES_ON, "evil"),
    ("config with a text for a node", put("config.yaml", "env: x\nalgorithm: y\npolicy: z\n"), GOES_ON, "env="),
    ("config with lists for names", put("config.yaml", "env: {name: [x]}\nalgorithm: {name: [es]}\npolicy: {}\n"),
     GOES_ON, "algorithm.name"),
    ("config with NaN", configured("seed: 0", "seed: .nan"), GOES_ON, "seed"),
    ("events foreign", put("tensorboard/events.out.tfevents.1.x", b"\x00\xff" * 40_000), GOES_ON, GOES_ON),
    ("events a folder", folder("tensorboard/events.out.tfevents.2.x"), GOES_ON, GOES_ON),
    ("failed episodes foreign", put("faults/gen_x.npz", "x"), GOES_ON, GOES_ON),
    ("a copy of a checkpoint", lambda run: shutil.copytree(run / NEWEST, run / f"{NEWEST}_copy"), GOES_ON, GOES_ON),
    ("a file for a checkpoint", put("checkpoints/gen_000009", "x"), GOES_ON, GOES_ON),
    ("log a link", link("log.txt"), "log.txt is a symbolic link", GOES_ON),
    ("lock a link", link(".lock"), ".lock is a symbolic link", GOES_ON),
    ("probe a link", link(".writable"), ".writable is a symbolic link", GOES_ON),
    ("metrics a link", link("metrics.jsonl"), GOES_ON, GOES_ON),
    ("config a link", link("config.yaml"), GOES_ON, GOES_ON),
    ("pointer a link", link("checkpoints/best"), "checkpoints/best is a symbolic link", GOES_ON),
    ("checkpoints a link", link("checkpoints"), "checkpoints is a symbolic link", GOES_ON),
    ("videos a link", link("videos"), "videos is a symbolic link", GOES_ON),
    (
        "everything damaged",
        all_of(*(cut(f"checkpoints/gen_{number:06d}/state.json") for number in (2, 3, 4))),
        "no checkpoint of run_dir=.*is complete",
        NOT_COMPLETE,
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(module_commands: Commands) -> tuple[Path, bytes]:
    """A run of four generations, and the parameters that it has after six."""
    folder = module_commands.cwd
    module_commands.run(*WORDS, "generations=4")
    shutil.copytree(folder / "run", folder / "kept")
    module_commands.run(*WORDS, "generations=6", "resume=auto")
    return folder / "kept", theta(folder / "run")


def theta(run: Path) -> bytes:
    checkpoint = Checkpoints(run).find("latest")
    assert checkpoint.state["generation"] == 6
    return bytes(checkpoint.arrays["theta"].tobytes())


@pytest.mark.parametrize(("damage", "resumed", "evaluated"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_damage(commands: Commands, whole: tuple[Path, bytes], damage: Damage, resumed: str, evaluated: str) -> None:
    kept, expected = whole
    run = commands.cwd / "run"
    shutil.copytree(kept, run)
    damage(run)
    outside = run.parent / "outside"
    untouched = outside.read_bytes() if outside.is_file() else None

    words = ("run_dir=run", "checkpoint=latest", "episodes=2", "runtime=serial")
    command = commands.run(*words, module="raes.evaluate", code=2 if evaluated else 0)
    check(command.out + command.err, evaluated)
    reported = commands.run("run", module="raes.report", code=None)
    check(reported.out + reported.err, "")
    assert reported.code in (0, 2), reported
    before = {path.name: path.read_bytes() for path in (run / NEWEST).glob("*") if path.is_file()}
    command = commands.run(*WORDS, "generations=6", "resume=auto", code=2 if resumed else 0)
    check(command.out + command.err, resumed)
    assert untouched is None or outside.read_bytes() == untouched, "what a link points to was changed"
    if resumed:
        assert {path.name: path.read_bytes() for path in (run / NEWEST).glob("*") if path.is_file()} == before
        return
    assert theta(run) == expected
    numbers = [record["progress/generation"] for record in read_records(run / "metrics.jsonl")]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 6
    if "passed over" in command.out:
        (aside,) = (run / "damaged").glob("gen_*")
        assert {path.name: path.read_bytes() for path in aside.glob("*") if path.is_file()} == before
        assert str(aside.name) in command.out


def check(text: str, fragment: str) -> None:
    """A command prints the message that it should, and no traceback."""
    assert "Traceback" not in text, text
    if fragment:
        assert re.search(fragment, text), text
        assert text.count("raes: ") == 1, text
