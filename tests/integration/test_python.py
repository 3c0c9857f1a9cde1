"""Runs from Python as scripts and notebooks start them: on Ray, in an event loop, in a thread, stopped by Ctrl-C."""

from __future__ import annotations

import signal
from pathlib import Path

from .helpers import SERIAL, Command, Commands, latest, latest_generation, records_of, theta_of
from .shared_ray import SharedRay

HEAD = """
import asyncio, threading
import gymnasium, numpy as np, ray
from gymnasium import spaces
import raes

class Mine(gymnasium.Env):
    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Box(-1, 1, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.look(), {}
    def step(self, action):
        self.time += 1
        reward = 1 - abs(float(action[0]) - float(self.seen[0]))
        return self.look(), reward, False, self.time == 10, {}
    def look(self):
        self.seen = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.seen

KEYS = dict(policy="linear", algorithm__pairs=3, noise__size=50_000, evaluation__episodes=2)
"""
ON_RAY = """
class Watcher:
    def __init__(self):
        self.seen = []
    def on_generation(self, record):
        assert threading.current_thread() is threading.main_thread()
        self.seen.append(record["progress/generation"])

watcher = Watcher()
own = raes.fit(env=Mine, run_dir="own", generations=3, workers=1, callbacks=[watcher], **KEYS)
assert not ray.is_initialized(), "a Ray that was joined for the run is left"
assert watcher.seen == [0, 1, 2, 3], watcher.seen
print("all is well")
"""
ON_A_RAY_THAT_IS_THERE = """
ray.init(log_to_driver=False)  # at RAY_ADDRESS

async def in_a_loop():
    return raes.fit(env=Mine, run_dir="loop", generations=3, workers=1, **KEYS)

loop = asyncio.run(in_a_loop())
assert ray.is_initialized(), "a Ray that was there stays"

def in_a_thread():
    global thread
    thread = raes.fit(env=Mine, run_dir="thread", generations=3, runtime="serial", **KEYS)

worker = threading.Thread(target=in_a_thread)
worker.start()
worker.join()
assert loop.theta.tobytes() == thread.theta.tobytes()
here, there = thread.evaluate(episodes=3), loop.evaluate(episodes=3, workers=2)
assert all(here[key] == there[key] for key in here if key.startswith(("return_", "length_")))
assert loop.policy(np.zeros(2, np.float32)).shape == (1,)
assert ray.is_initialized()
print("all is well")
"""
STOPPED = """
run = raes.fit(env=Mine, run_dir="run", checkpoint__every=1, runtime="serial", **KEYS)
assert run.interrupted, run.reason
print(run.reason, run.theta.shape)
"""
TRACKER = """
import raes

class Tracker(raes.Callback):
    def on_start(self, config):
        open("called.txt", "w").write(config["env"]["id"])
    def on_generation(self, record):
        return record["progress/generation"] == 2
    def on_end(self, reason):
        open("called.txt", "a").write(" " + reason)
"""


def script(commands: Commands, source: str, **environment: str) -> Command:
    """Start a script with the class in its `__main__`."""
    (commands.cwd / "script.py").write_text(HEAD + source)
    return commands.script("script.py", **environment)


def test_a_class_of_a_script_trains_on_ray_which_is_joined_or_found(commands: Commands, shared_ray: SharedRay) -> None:
    joined = script(commands, ON_RAY, RAY_ADDRESS=shared_ray.address).wait()
    found = script(commands, ON_A_RAY_THAT_IS_THERE, RAY_ADDRESS=shared_ray.address).wait()
    for command, text in (
        (joined, f"Ray cluster at {shared_ray.address}: 1 node, 3 CPUs"),
        (found, "the Ray of this process: 1 node, 3 CPUs"),
    ):
        assert command.out.splitlines()[-1] == "all is well"
        assert text in command.out
        assert "Traceback" not in command.err
    assert theta_of(commands.cwd / "own").tobytes() == theta_of(commands.cwd / "loop").tobytes()


def test_ctrl_c_gives_back_the_run_with_a_checkpoint(commands: Commands) -> None:
    command = script(commands, STOPPED)
    command.wait_for(lambda: latest_generation(commands.cwd / "run") >= 1)
    command.process.send_signal(signal.SIGINT)
    command.wait()
    assert command.out.splitlines()[-1].startswith("stopped after ")
    assert latest(commands.cwd / "run").is_dir()


def test_the_command_and_fit_give_the_same_bits(commands: Commands) -> None:
    commands.run(*SERIAL, "generations=3", "run_dir=command")
    source = """
keys = KEYS | dict(env__id="CartPole-v1", generations=3, runtime="serial", run_dir="python")
raes.fit(env="gymnasium", **keys)
"""
    script(commands, source).wait()
    assert theta_of(commands.cwd / "command").tobytes() == theta_of(commands.cwd / "python").tobytes()


def test_the_command_tells_callbacks_too_and_they_may_end_it(commands: Commands) -> None:
    (commands.cwd / "track.py").write_text(TRACKER)
    command = commands.run(*SERIAL, "generations=50", "run_dir=run", "callbacks=[track:Tracker]")
    assert "finished: track:Tracker asked for the end" in command.out
    assert (commands.cwd / "called.txt").read_text() == "CartPole-v1 track:Tracker asked for the end"
    assert records_of(commands.cwd / "run")[-1]["progress/generation"] == 4
    commands.run(*SERIAL, "generations=5", "run_dir=run", "resume=auto")  # without the callback: free to change
    refused = commands.refuse(*SERIAL, "run_dir=other", "callbacks=[track:Trakcer]")
    assert "callbacks=track:Trakcer cannot be imported" in refused
    assert not Path(commands.cwd / "other" / "metrics.jsonl").exists()
