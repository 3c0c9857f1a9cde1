"""`python`, `pip`, `make` and `tensorboard` as documented commands get them in tests: themselves, with short runs.

    python limits.py NAME WORDS...

Training gets keys behind its words, which win: 2 generations (3 with resume=...) of a few short episodes, in one
process where the words ask for no workers. Benchmarks get words that make them short. Of an installation the extras are
looked up; of make, `make -n` is run. TensorBoard is asked for its page once, and ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAIRS = ("es", "ars", "ns_es", "nsr_es", "nsra_es", "pgpe")
SHORT_BENCHES = {
    "rollout": ["seconds=0.05", "tasks=[Hopper,Humanoid]"],
    "atari": ["seconds=0.05"],
    "workers": [
        "seconds=0.1",
        "workers=2",
        "turns=1",
        "generations=1",
        "pairs=2",
        "timesteps=1",
        "cases=[[Hopper,[8]]]",
    ],
    "share": ["seconds=0.2"],
    "timestep": ["seconds=0.01", "task=InvertedPendulum"],
    "low_rank": ["seconds=0.05", "tasks=[Hopper]", "ranks=[1]", "pairs=10"],
    "update": ["seconds=0.05", "cases=[[50,10],[2000,300]]", "shared=[140000,1000]"],
    "models": ["width=64", "layers=2", "vocabulary=100", "generations=1", "workers=1", "pairs=2"],
    "pool": ["seconds=0.05", "results=200", "pairs=4", "generations=1"],
    "functions": [
        "budget=400",
        "parallel_runs=[1,4]",
        "populations=[16]",
        "budgets=[20]",
        "functions=[1,15]",
        "instances=[6]",
    ],
    "chaos": ["generations=6", "pairs=60", "actor_kills=8", "relay_kills=1", "node_kills=1", "memory_generations=50"],
    "peers": ["seconds=0.05", "names=[raes]", "cases=[[InvertedPendulum-v5,8,4]]"],
    "scale": ["seconds=1", "idle=5", "workers=[16]", "pipelined=[16]", "nodes=2", "episodes=200", "policy=falling"],
}
"""Name of a benchmark -> words that make it short."""
AS_IT_IS = ("--help", "--cfg", "--hydra-help", "--info")


def training(words: list[str]) -> list[str]:
    """A training with its limits."""
    if any(word in AS_IT_IS for word in words):
        return words
    given = dict(word.split("=", 1) for word in words if "=" in word)
    more = {"generations": "3" if given.get("resume", "never") != "never" else "2"}
    more |= {"evaluation.every": "0", "evaluation.episodes": "1", "console": "plain", "noise.size": "null"}
    more |= {"ray.address": "local", "algorithm.min_timesteps": "0", "video.seconds": "1"}
    more |= {"algorithm.episode_cap.kind": "fixed", "algorithm.episode_cap.steps": "40"}
    if not given.keys() & {"runtime", "workers", "hydra.launcher.parallel"}:
        more["runtime"] = "serial"
    if "video.every" in given:
        more["video.seconds"] = "1"
    algorithm = given.get("algorithm", "es")
    if algorithm.split(",")[0] in PAIRS:
        more["algorithm.pairs"] = "2"
    else:
        more["algorithm.population"] = "8"
    if algorithm == "ars":
        more["algorithm.best"] = "null"
    if algorithm == "ga":
        more |= {"algorithm.parents": "3", "algorithm.candidates": "2", "algorithm.elite_episodes": "1"}
    if "env.game" in given or given.get("env") == "Pong" or "atari_paper" in given.get("experiment", ""):
        more |= {"env.max_frames": "400", "policy.reference": "16", "noise.size": "4000000"}
    # The folders of a multirun's jobs are named after the reader's words alone.
    more["hydra.job.config.override_dirname.exclude_keys"] = f"[{','.join(more.keys() - given.keys())}]"
    return [*words, *(f"{key}={value}" for key, value in more.items())]


def python(words: list[str]) -> int:
    """Python with a module, a file or a text."""
    if words[:1] == ["-m"] and words[1:]:
        module, rest = words[1], words[2:]
        if module == "raes.train":
            rest = training(rest)
        elif module == "raes.evaluate":
            rest = [*rest, "episodes=2", "runtime=serial"]
        elif module == "raes.play":
            rest = [*rest, "seconds=1", "out=auto"]
        elif module in ("raes.bench", "benchmarks") and rest:
            rest = [*rest, *SHORT_BENCHES.get(rest[0], [])]
        words = ["-m", module, *rest]
    return subprocess.run([sys.executable, *words], check=False).returncode


def pip(words: list[str]) -> int:
    """The extras must exist."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {extra for word in words for found in re.findall(r"\[([\w,-]+)\]", word) for extra in found.split(",")}
    unknown = asked - project["optional-dependencies"].keys()
    if unknown or words[:1] != ["install"]:
        print(f"pip {' '.join(words)}: unknown {unknown or words[:1]}", file=sys.stderr)
        return 2
    return 0


def tensorboard(words: list[str]) -> int:
    """Until its page answers."""
    folder = words[words.index("--logdir") + 1]
    names = (name for _, _, names in os.walk(folder, followlinks=True) for name in names)
    if not any(name.startswith("events.out.tfevents.") for name in names):
        print(f"tensorboard: {folder} holds no curves", file=sys.stderr)
        return 2
    log = Path("tensorboard.log")
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *words, "--port", "0"], stderr=out)
    try:
        for _ in range(600):
            found = re.search(r"http://\S+", log.read_text())
            if found:
                page = urllib.request.urlopen(found[0].replace("localhost", "127.0.0.1"), timeout=30)
                return 0 if page.status == 200 else 1
            if server.poll() is not None:
                break
            time.sleep(0.1)
        print(log.read_text(), file=sys.stderr)
        return 1
    finally:
        server.terminate()
        server.wait()


def make(words: list[str]) -> int:
    """What make would do."""
    return subprocess.run(["/usr/bin/env", "make", "-n", *words], cwd=REPOSITORY, stdout=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    if name == "make":  # the real one lies behind ours on the path
        os.environ["PATH"] = os.environ["PATH"].partition(os.pathsep)[2]
    sys.exit({"python": python, "pip": pip, "tensorboard": tensorboard, "make": make}[name](rest))
