"""A run that goes on with another BLAS kernel warns once and counts it; with the same one it does not."""

from __future__ import annotations

import json
import platform

import pytest

from .helpers import SERIAL, Commands, latest, records_of, state_of

WARNING = "this run was computed with"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenBLAS' kernels of one kind of processor")
def test_a_resume_with_another_kernel_is_noticed_once(commands: Commands) -> None:
    def train(generations: int, kernel: str) -> str:
        words = (*SERIAL, f"generations={generations}", "run_dir=run", "resume=auto", "console=plain")
        return commands.run(*words, fork=False, OPENBLAS_CORETYPE=kernel).out

    run = commands.cwd / "run"
    assert WARNING not in train(1, "Prescott") + train(2, "Prescott")
    assert records_of(run)[-1]["faults/may_differ"] == 0
    text = train(3, "Nehalem")
    assert text.count(WARNING) == 1
    assert text.splitlines()[-1].startswith("  bits may differ")
    assert records_of(run)[-1]["faults/may_differ"] == 1
    text = train(4, "Prescott")
    assert WARNING not in text, "both are known now"
    assert "  bits may differ" in text, "the run has both kinds"
    assert records_of(run)[-1]["faults/may_differ"] == 1


def test_a_checkpoint_that_does_not_tell_is_read_as_before(commands: Commands) -> None:
    commands.run(*SERIAL, "generations=1", "run_dir=run")
    path = latest(commands.cwd / "run") / "state.json"
    state = state_of(path.parent)
    assert len(state["arithmetic"]) == 2
    del state["arithmetic"], state["progress"]["may_differ"]
    for key in ("checksum", "arrays_sha256"):
        state.pop(key, None)
    path.write_text(json.dumps(state | {"schema_version": 3}))
    text = commands.run(*SERIAL, "generations=2", "run_dir=run", "resume=auto").out
    assert WARNING not in text
    assert "bits may differ" not in text
