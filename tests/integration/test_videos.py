"""Videos during training: made by another process, in `videos/` and in TensorBoard, without any effect on the run."""

from __future__ import annotations

import io
import os
import signal
from contextlib import suppress
from pathlib import Path

import av
import psutil
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from .helpers import CARTPOLE, SERIAL, SLOW_WORLD, Commands, deterministic, theta_of

pytestmark = pytest.mark.tools
LINE = ("env=gymnasium", "env.id=trial_worlds:Line-v0", "policy=linear", "algorithm.pairs=2", "noise.size=50000",
        "runtime=serial")  # fmt: skip
VIDEO = ("video.every=4", "video.seconds=1", "evaluation.every=0")


def display_path(run_dir: Path) -> dict[int, Image.Image]:
    """The animated pictures in TensorBoard, by generation."""
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"images": 0}).Reload()
    tags = events.Tags()["images"]
    pictures = [] if not tags else events.Images("video")
    return {one.step: Image.open(io.BytesIO(one.encoded_image_string)) for one in pictures}


def files(run_dir: Path) -> list[str]:
    """The names in `videos/`."""
    return sorted(os.listdir(run_dir / "videos")) if (run_dir / "videos").exists() else []


@pytest.mark.parametrize("words", [SERIAL, (*CARTPOLE, "workers=2")], ids=["serial", "ray"])
def test_videos_of_the_first_and_the_last_policy(commands: Commands, words: tuple[str, ...]) -> None:
    commands.run(*words, "generations=6", "evaluation.every=0", "run_dir=plain")
    command = commands.run(*words, *VIDEO, "generations=6", "run_dir=filmed")
    run_dir = commands.cwd / "filmed"
    assert theta_of(run_dir).tobytes() == theta_of(commands.cwd / "plain").tobytes()
    assert deterministic(run_dir) == deterministic(commands.cwd / "plain")
    assert {"gen_000000.mp4", "gen_000006.mp4"} <= set(files(run_dir)) <= {f"gen_{g:06d}.mp4" for g in (0, 4, 6)}
    pictures = display_path(run_dir)
    assert [f"gen_{generation:06d}.mp4" for generation in sorted(pictures)] == files(run_dir)
    for generation, picture in pictures.items():
        assert picture.format == "GIF"
        assert picture.n_frames > 1
        assert f"video of generation {generation} in videos/" in command.out
    with av.open(str(run_dir / "videos" / "gen_000006.mp4")) as film:
        assert 1 < len(list(film.decode(video=0))) <= 51


def test_the_process_beside_a_run_gives_way_to_it(commands: Commands) -> None:
    command = commands.start(*SERIAL, *VIDEO, "generations=3", "run_dir=run")
    wanted = {19: "19"}

    def videos() -> dict[int, str]:
        """The niceness of the process that films, and of its session where Linux weighs sessions."""
        for process in command.relatives():
            with suppress(psutil.Error, OSError):
                if "raes.training.film" in process.cmdline():
                    session = Path(f"/proc/{process.pid}/autogroup")
                    return {int(process.nice()): session.read_text().split()[-1] if session.exists() else "19"}
        return {}

    command.wait_for(lambda: videos() == wanted)
    command.wait()


def test_a_resumed_run_has_each_video_once(commands: Commands) -> None:
    words = (*SERIAL, *VIDEO, "checkpoint.every=1", "run_dir=run")
    commands.run(*words, "generations=5")
    commands.run(*words, "generations=9", "resume=auto", "video.seconds=2")
    steps = list(display_path(commands.cwd / "run"))
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert steps[-1] == 9
    assert 5 not in steps  # what came after the checkpoint is cut, as all of TensorBoard is


def test_what_cannot_be_filmed_is_a_notice(commands: Commands) -> None:
    commands.run(*LINE, "generations=3", "run_dir=plain")
    command = commands.run(*LINE, "video.every=1", "generations=3", "run_dir=run")
    assert theta_of(commands.cwd / "run").tobytes() == theta_of(commands.cwd / "plain").tobytes()
    assert command.out.count("no video of generation") == 1, "once"
    assert "rgb_array" in command.out
    assert files(commands.cwd / "run") == []


def test_the_end_of_a_run_shows_what_it_waits_for_and_ctrl_c_skips_it(commands: Commands) -> None:
    (commands.cwd / "slow_world.py").write_text(SLOW_WORLD.replace("PAUSE", "600"))
    words = (*LINE[:1], "env.id=slow_world:Slow-v0", *LINE[2:], "video.every=1", "generations=4", "run_dir=run")
    command = commands.start(*words)
    command.wait_for(lambda: "training is done and saved; filming generation 0" in command.out)
    assert "Ctrl-C skips the video" in command.out
    os.kill(command.process.pid, signal.SIGINT)
    command.wait()
    assert "no video of generation 0: skipped by Ctrl-C" in command.out
    assert "no video of generation 4: skipped by Ctrl-C" in command.out
    assert "3 videos were skipped, since a newer one was due before" in command.out
    assert "finished: generation limit (4) reached" in command.out


def test_a_run_that_is_stopped_reports_the_video_that_it_abandons(commands: Commands) -> None:
    (commands.cwd / "slow_world.py").write_text(SLOW_WORLD.replace("PAUSE", "600"))
    words = (*LINE[:1], "env.id=slow_world:Slow-v0", *LINE[2:], "video.every=100000", "run_dir=run")
    command = commands.start(*words)
    command.wait_for(lambda: "gen     3" in command.out)
    os.kill(command.process.pid, signal.SIGINT)
    command.wait(130)
    assert "no video of generation 0: the run was stopped before it was done" in command.out


def test_a_function_has_nothing_to_see(commands: Commands) -> None:
    (commands.cwd / "plain.py").write_text("def sphere(x):\n    return float((x * x).sum())\n")
    message = commands.refuse("env=function", "env.call=plain:sphere", "env.dim=2", "video.every=5", "runtime=serial")
    assert "video.every=5" in message
