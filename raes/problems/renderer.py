"""Chooses the library that renders MuJoCo without a window: EGL, OSMesa or GLFW, whichever works here.

A broken driver may end the process that uses it, so each one is tried in a process of its own, on the environment that
must be rendered.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import cloudpickle

from raes.problems.atari import AtariSettings
from raes.problems.camera import with_pictures
from raes.problems.environment import EnvSettings, make_environment
from raes.problems.episode import EpisodeSpec
from raes.problems.picture import to_rgb
from raes.problems.registration import register
from raes.text import described
from raes.types import UserError

VARIABLE = "MUJOCO_GL"
"""The environment variable by which MuJoCo and Gymnasium choose the library."""
LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa", "glfw": "GLFW"}
"""Value of the variable -> name; in the order in which they are tried."""
CURE = "on Debian or Ubuntu: apt-get install libegl1 libegl-mesa0 (or libosmesa6)"
TRIAL_SECONDS = 120.0
"""Limit of a trial; importing MuJoCo takes several seconds on a busy machine."""
ANSWER_PREFIX = "raes: drawn"
"""Begins the line on which a trial prints its answer."""


def choose(spec: EpisodeSpec) -> str | None:
    """Make this process render the environment with a library that works; a message, or None where there is no choice.

    It sets `MUJOCO_GL` for environments made later in this process; a value that the user has set stays.

    Raises:
        UserError: the environment has no pictures, or nothing can render it; the message names the fix.
    """
    settings = spec.env
    if isinstance(settings, AtariSettings):
        return None
    given = os.environ.get(VARIABLE)
    failures: list[str] = []
    for name in [given] if given else LIBRARIES:
        answer = _trial(cloudpickle.dumps((settings, spec.registered)), name)
        if answer.get("refused"):
            raise UserError(answer["refused"])
        if answer.get("drawn"):
            if not answer["mujoco"]:
                return None
            os.environ[VARIABLE] = name
            why = f" (set by {VARIABLE})" if given else f" ({'; '.join(failures)})" if failures else ""
            return f"MuJoCo draws with {LIBRARIES.get(name, name)}{why}"
        failures.append(f"{name}: {answer['failed']}")
        if not answer.get("mujoco", True):
            raise UserError(f"env.id={settings.id} cannot be drawn: {answer['failed']}; fix the environment's render()")
    raise UserError(f"env.id={settings.id}: nothing here can draw MuJoCo ({'; '.join(failures)}); {CURE}")


def _trial(content: bytes, name: str) -> Mapping[str, Any]:
    """Try a library in a process of its own: `drawn`, `refused` or `failed`, and whether it has loaded `mujoco`."""
    command, variables = [sys.executable, "-m", "raes.problems.renderer"], os.environ | {VARIABLE: name}
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=TRIAL_SECONDS, env=variables)
    except subprocess.TimeoutExpired:
        return {"failed": f"no picture within {TRIAL_SECONDS:g} s"}
    out, err = (text.decode(errors="replace").strip().splitlines() for text in (done.stdout, done.stderr))
    lines = [line.removeprefix(ANSWER_PREFIX) for line in out if line.startswith(ANSWER_PREFIX)]
    if lines:
        answer: Mapping[str, Any] = json.loads(lines[-1])
        return answer
    if done.returncode < 0:
        return {"failed": f"the process that tried it died of signal {-done.returncode}"}
    return {"failed": err[-1] if err else f"exit code {done.returncode}"}


def _try() -> None:
    """Render one picture of the environment on standard input, and print the answer."""
    settings, registered = pickle.load(sys.stdin.buffer)
    register(registered)
    answer: dict[str, Any] = {}
    try:
        _check(settings)
        env = make_environment(with_pictures(settings))
        env.reset(seed=0)
        answer["drawn"] = to_rgb(env.render()).shape
    except UserError as error:
        answer["refused"] = str(error)
    except Exception as error:
        answer["failed"] = described(error)
    answer["mujoco"] = "mujoco" in sys.modules
    print(f"\n{ANSWER_PREFIX}{json.dumps(answer)}", flush=True)
    os._exit(0)  # some drivers crash at exit, after they have rendered the picture


def _check(settings: EnvSettings) -> None:
    """Refuse an environment that has no pictures.

    Raises:
        UserError: there is no `rgb_array` among its render modes.
    """
    env = make_environment(settings)
    modes = list(env.metadata.get("render_modes") or [])
    env.close()
    if "rgb_array" not in modes:
        raise UserError(
            f"env.id={settings.id} has no pictures: its metadata['render_modes'] is {modes}; give it a mode "
            "'rgb_array' whose render() returns uint8 (rows, columns, 3)"
        )


if __name__ == "__main__":
    _try()
