"""What a command knows of the Ray job that it runs as: its name, and where relative paths of what stays must lead."""

from __future__ import annotations

import json
import os
from pathlib import Path

SUBMIT = "ray job submit --working-dir . -- "
"""What stands before a command that is to run as a job."""


def submission() -> str | None:
    """The name that `ray job submit` gave this command; None outside of a job."""
    try:
        metadata = json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"]
        return str(metadata["job_submission_id"])
    except (KeyError, TypeError, ValueError):
        return None


def steering(name: str) -> str:
    """How whoever submitted the job follows and stops it."""
    return (
        f"Ray job {name}: it goes on when you leave. Follow it with `ray job logs -f {name}`; stop it, with a "
        f"checkpoint, with `ray job stop {name}`"
    )


def persistent_path(path: str) -> str:
    """A path of what is to stay; in a job, a relative one is meant from the home folder.

    A job's working directory is a copy that Ray removes.
    """
    if submission() is None or "://" in path or Path(path).is_absolute():
        return path
    return str(Path.home() / path)
