"""The example notebook runs, quickly, and its output is no mess."""

from __future__ import annotations

import os
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from .helpers import latest_generation, wait_for

NOTEBOOK = Path(__file__).parents[2] / "examples" / "raes.ipynb"


@pytest.fixture
def executed(tmp_path: Path, ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """The notebook, run in a kernel of its own."""
    for key in [key for key in os.environ if key.startswith("RAY_")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    start = time.monotonic()
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    print(f"the notebook took {time.monotonic() - start:.0f} s")
    return notebook


@pytest.mark.tools
def test_the_notebook_runs_and_each_run_shows_in_one_place(executed: nbformat.NotebookNode) -> None:
    training = [cell for cell in executed.cells if "raes.fit(" in cell.source and cell.cell_type == "code"]
    assert len(training) == 2
    for cell in training:
        shown = [output for output in cell.outputs if output.output_type == "display_data"]
        assert len(shown) == 1, "one place that is written over"
        last = shown[0].data["text/plain"]
        assert last.startswith("gen ")
        assert "\n" not in last, "the status goes when the run has ended"
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        assert len(printed.splitlines()) <= 6, printed  # three of ours, and three of Ray about ipywidgets
        assert "\r" not in printed
        assert "\x1b" not in printed
    results = [output.data["text/plain"] for cell in executed.cells for output in cell.get("outputs", [])
               if output.output_type == "execute_result"]  # fmt: skip
    assert results[0].startswith("Run('")
    assert float(results[1]) > 100
    assert "asked for the end" in results[4]
    shown = [output.data for cell in executed.cells if "run.play" in cell.source for output in cell.outputs
             if output.output_type == "display_data"]  # fmt: skip
    (film,) = [data for data in shown if "text/html" in data]
    assert "video/mp4;base64" in film["text/html"]
    assert not any(data["text/plain"] for data in shown if data is not film), "the status goes when the film is there"


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.tools
def test_the_stop_button_gives_back_the_run_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    manager, client = start_new_kernel(cwd=str(tmp_path))
    try:
        train = "import raes; run = raes.fit(env='CartPole', goal__return_mean=None, run_dir='run', runtime='serial')"
        client.execute(train)
        wait_for(lambda: latest_generation(tmp_path / "run") >= 1, 120, lambda: "no checkpoint")
        manager.interrupt_kernel()
        printed: list[str] = []
        client.execute_interactive(
            "print(run.interrupted, run.reason)",
            timeout=60,
            output_hook=lambda message: printed.append(message["content"].get("text", "")),
        )
        assert "True stopped after " in "".join(printed)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
