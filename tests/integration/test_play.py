"""`raes.play`: the episodes of an evaluation as they look, from runs as they are trained."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import ImageGrab

from raes.play import PlayArguments, limit
from raes.policies import PolicySettings
from raes.problems.camera import FilmedSpec, Shot
from raes.problems.environment import EnvSettings
from raes.problems.episode import EpisodeSpec
from raes.problems.picture import BAR, LABEL, MARGIN
from raes.problems.renderer import choose

from .helpers import SERIAL, SLOW_WORLD, Commands

pytestmark = pytest.mark.tools
MUJOCO = ("env=gymnasium", "env.id=Hopper-v5", "policy=linear", "algorithm.pairs=2", "noise.size=50000",
          "generations=1", "evaluation.episodes=1", "runtime=serial")  # fmt: skip
GAME = ("env=atari", "env.game=breakout", "env.max_frames=300", "env.noops=0", "policy.convolutions=[[8,8,4],[8,4,2]]",
        "policy.hidden=[32]", "policy.reference=16", "algorithm.pairs=1", "generations=1", "evaluation.episodes=1",
        "runtime=serial")  # fmt: skip


def pictures(path: Path) -> list[np.ndarray]:
    """A film's pictures, uint8 (rows, columns, 3)."""
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def played(out: str) -> list[tuple[float, int]]:
    """The return and the timesteps of each episode, as `raes.play` tells them."""
    found = re.findall(r"episode \d+: return (\S+) after (\d+) timesteps$", out, re.MULTILINE)
    return [(float(total), int(length)) for total, length in found]


def evaluated(commands: Commands, *words: str) -> dict[str, str]:
    """What `raes.evaluate` prints."""
    out = commands.run(*words, "runtime=serial", module="raes.evaluate").out
    return dict(line.split(maxsplit=1) for line in out.splitlines() if " " in line)


@pytest.mark.parametrize(
    "words",
    [
        MUJOCO,
        (*SERIAL, "generations=1"),
        (*MUJOCO[:2], *MUJOCO[3:], "policy.hidden=[8]", "algorithm.perturbation=low_rank"),
    ],
    ids=["mujoco", "classic control", "low rank"],
)
def test_a_film_shows_the_returns_of_the_evaluation(commands: Commands, words: tuple[str, ...]) -> None:
    commands.run(*words, "run_dir=run")
    run = ("run_dir=run", "checkpoint=latest", "seed=3", "episodes=2")
    command = commands.run(*run, "out=auto", module="raes.play", DISPLAY="")
    assert ("MuJoCo draws with" in command.out) == ("env.id=Hopper-v5" in words)
    (first, first_length), (second, second_length) = played(command.out)
    metrics = evaluated(commands, *run)
    assert (first + second) / 2 == pytest.approx(float(metrics["return_mean"]), abs=0.011)
    assert {min(first, second), max(first, second)} == {float(metrics["return_min"]), float(metrics["return_max"])}
    assert {first_length, second_length} >= {int(metrics["length_min"]), int(metrics["length_max"])}
    film = pictures(commands.cwd / "run" / "videos" / "gen_000001_seed3.mp4")
    every = 3 if "env.id=Hopper-v5" in words else 1  # 125 timesteps per second are more than a screen shows
    assert len(film) == pytest.approx((first_length + second_length + 2) / every, abs=4)  # first, last and rounding
    assert film[0][:-BAR].std() > 10, "nothing is drawn"
    assert np.abs(film[0].astype(int) - film[-1]).max() > 50, "nothing moves"


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Swimmer-v5"])
def test_the_camera_goes_with_the_body(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body a hundred metres away is in the picture, and there is ground below it."""
    monkeypatch.setenv("MUJOCO_GL", "")  # and take it back afterwards
    spec = EpisodeSpec(EnvSettings(id=env_id), PolicySettings("linear", ()))
    assert choose(spec) is not None
    shots: list[Shot] = []
    with closing(FilmedSpec(spec, lambda shot: shots.append(shot) is None).build()) as problem:
        problem.env.reset(seed=0)
        body = problem.env.unwrapped
        body.set_state(body.data.qpos + np.eye(body.model.nq)[0] * 100.0, body.data.qvel)
        problem.env.step(np.zeros(body.model.nu, np.float32))
    near, far = (shot.screens[0].astype(int) for shot in shots)
    bodies = [int((np.ptp(picture, axis=2) > 50).sum()) for picture in (near, far)]  # the ground has less colour
    assert bodies[1] > 0.5 * bodies[0] > 100
    assert far[-60:].std() > 30, "no ground"


def test_a_game_as_a_person_and_as_the_agent_see_it(commands: Commands) -> None:
    commands.run(*GAME, "run_dir=run")
    command = commands.run("run_dir=run", "checkpoint=latest", "out=film.mp4", module="raes.play")
    metrics = evaluated(commands, "run_dir=run", "checkpoint=latest", "episodes=1")
    assert played(command.out) == [(float(metrics["return_mean"]), int(metrics["length_min"]))]
    film = pictures(commands.cwd / "film.mp4")
    assert len(film) == 300  # every frame of the emulator
    with av.open(str(commands.cwd / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == 60
    person, agent = film[-1][LABEL:-BAR, :320], film[-1][LABEL:-BAR, 320 + MARGIN :]
    assert person.shape == (420, 320, 3)
    assert agent.shape == (420, 420, 3)
    assert np.ptp(person.astype(int), axis=2).max() > 100, "no colours"
    assert np.ptp(agent.astype(int), axis=2).max() < 30, "not grey"
    grey = person.mean(axis=2)[::5, :].repeat(1, axis=1)
    small = agent.mean(axis=2)[::5, ::5]
    assert np.corrcoef(grey[:, np.linspace(0, 319, 84).astype(int)].ravel(), small.ravel())[0, 1] > 0.8


def test_a_film_may_end_early_and_run_fast(commands: Commands) -> None:
    commands.run(*SERIAL, "generations=1", "run_dir=run")
    words = ("run_dir=run", "checkpoint=latest", "out=film.mp4", "episodes=50")
    command = commands.run(*words, "seconds=0.5", "speed=2", module="raes.play")
    assert "where it was cut" in command.out
    assert re.search(r"cut after seconds=0\.5 of film, so that \d+ of 50 episodes are not shown", command.out)
    assert "seconds=null shows whole episodes" in command.out
    with av.open(str(commands.cwd / "film.mp4")) as film:
        assert film.streams.video[0].average_rate == 50  # twice 50 a second, every second one left out
    assert len(pictures(commands.cwd / "film.mp4")) == 25


def test_a_pipe_hears_of_a_film_that_takes_long(commands: Commands) -> None:
    (commands.cwd / "slow_world.py").write_text(SLOW_WORLD.replace("PAUSE", "0.6"))
    words = ("env=gymnasium", "env.id=slow_world:Slow-v0", "policy=linear", "noise.size=50000", "algorithm.pairs=2")
    commands.run(*words, "runtime=serial", "generations=1", "run_dir=run")
    command = commands.run("run_dir=run", "checkpoint=latest", "out=auto", module="raes.play")
    assert len(re.findall(r"^filmed \d\.\d s, at most 60 s  Ctrl-C", command.out, re.MULTILINE)) >= 2
    assert played(command.out)[0][1] == 10


def test_a_file_has_a_usual_length_and_a_window_has_none() -> None:
    assert limit(PlayArguments("run"), window=False) == 60.0
    assert limit(PlayArguments("run"), window=True) is None
    assert limit(PlayArguments("run", seconds=5.0), window=True) == 5.0
    assert limit(PlayArguments("run", seconds=None), window=False) is None


def test_what_cannot_be_watched_is_one_message(commands: Commands) -> None:
    function = ("env=function", "env.call=trial_worlds:sphere", "env.dim=2", "runtime=serial", "generations=1")
    (commands.cwd / "plain.py").write_text("def sphere(x):\n    return -float((x * x).sum())\n")
    commands.run(*function[:1], "env.call=plain:sphere", *function[2:], "algorithm=es", "run_dir=function")
    assert "no episodes to look at" in commands.refuse("run_dir=function", module="raes.play")
    line = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "noise.size=50000", "runtime=serial")
    commands.run(*line, "generations=1", "algorithm.pairs=2", "run_dir=line")
    assert "rgb_array" in commands.refuse("run_dir=line", "checkpoint=latest", "out=auto", module="raes.play")
    for word in ("out=film.gif", "speed=0", "episodes=0", "seconds=-1", "checkpoint=first", "out=nowhere/film.mp4"):
        assert word.split("=")[0] in commands.refuse("run_dir=line", word, module="raes.play")


def test_a_machine_that_cannot_draw_says_what_to_install(commands: Commands) -> None:
    commands.run(*MUJOCO, "run_dir=run")
    message = commands.refuse(
        "run_dir=run", "checkpoint=latest", "out=auto", module="raes.play", MUJOCO_GL="glfw", DISPLAY=""
    )
    assert "apt-get install libegl1" in message
    assert not list((commands.cwd / "run" / "videos").glob("*"))


@pytest.fixture
def display() -> Iterator[str]:
    """A display of 640 x 600 pixels."""
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("no Xvfb on this machine; run tests/setup-system.sh as root")
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [server, "-displayfd", str(writer), "-screen", "0", "640x600x24", "-noreset", "-nolisten", "tcp"],
        pass_fds=[writer], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader) as file:
        number = file.readline().strip()
    yield f":{number}"
    process.terminate()
    process.wait(30)


def test_a_window_opens_where_there_is_a_display(commands: Commands, display: str) -> None:
    commands.run(*SERIAL, "generations=1", "run_dir=run")
    words = ("run_dir=run", "checkpoint=latest", "speed=0.2", "episodes=3")
    command = commands.start(*words, module="raes.play", DISPLAY=display, SDL_VIDEODRIVER="x11")

    def screen() -> np.ndarray:
        return np.asarray(ImageGrab.grab(xdisplay=display).convert("RGB")).astype(int)

    command.wait_for(lambda: screen().max() > 200)  # CartPole's white ground
    before = screen()
    time.sleep(1.0)
    assert np.abs(screen() - before).max() > 50, "nothing moves"
    command.wait()
    assert len(played(command.out)) == 3
    assert not (commands.cwd / "run" / "videos").exists()
