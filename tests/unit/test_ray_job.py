"""What a command knows of the Ray job that it runs as."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raes.training import ray_job


def test_outside_of_a_job_nothing_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert ray_job.submission() is None
    assert ray_job.persistent_path("runs/one") == "runs/one"


def test_in_a_job_relative_paths_lead_out_of_the_folder_that_ray_removes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"job_submission_id": "raysubmit_1"}}))
    assert ray_job.submission() == "raysubmit_1"
    assert ray_job.persistent_path("runs/one") == str(Path.home() / "runs" / "one")
    assert ray_job.persistent_path("/data/one") == "/data/one"
    assert ray_job.persistent_path("s3://bucket/one") == "s3://bucket/one"
    assert "ray job stop raysubmit_1" in ray_job.steering("raysubmit_1")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"metadata": null}', '{"runtime_env": {}}'])
def test_a_variable_that_is_not_of_a_job_is_none(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", content)
    assert ray_job.submission() is None
