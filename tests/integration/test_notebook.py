"""The example notebook runs, quickly, and its output is no mess."""

from __future__ import annotations

import base64
import io
import os
import re
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient
from PIL import Image

from .helpers import latest_generation, wait_for

NOTEBOOK = Path(__file__).parents[2] / "examples" / "raes.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> nbformat.NotebookNode:
    """The notebook, run in a kernel of its own."""
    tmp_path = tmp_path_factory.mktemp("notebook")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    own = {"RAY_TMPDIR": str(ray_folder), "RAY_ADDRESS": "local", "IPYTHONDIR": str(tmp_path / "ipython")}
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    start = time.monotonic()
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=kept | own)
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


def test_the_notebook_is_kept_with_its_outputs_and_a_plot() -> None:
    """`make notebook` makes them."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run from top to bottom"
    silent = ("import", "class")
    assert all(cell.outputs for cell in cells if not cell.source.startswith(silent) or "raes.fit(" in cell.source)
    outputs = [output for cell in cells for output in cell.outputs]
    assert not any(output.output_type == "error" or output.get("name") == "stderr" for output in outputs)
    (plot,) = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    columns, rows = Image.open(io.BytesIO(base64.b64decode(plot))).size
    assert columns > 400
    assert rows > 200
    assert any("video/mp4" in output.data.get("text/html", "") for output in outputs if "data" in output)
    text = NOTEBOOK.read_text()
    assert len(text) < 300_000
    assert not re.search(r"/(tmp|home|root|work|Users|var)/", text), "paths of the machine that has run it"


@pytest.mark.tools
def test_its_outputs_are_those_of_its_cells(executed: nbformat.NotebookNode) -> None:
    def kinds(notebook: nbformat.NotebookNode) -> list[tuple[str, bool, bool]]:
        """Per cell its source, whether it shows a picture, and whether it ends with a value."""
        return [
            (
                cell.source,
                any("image/png" in output.get("data", {}) for output in cell.outputs),
                any(output.output_type == "execute_result" for output in cell.outputs),
            )
            for cell in notebook.cells
            if cell.cell_type == "code"
        ]

    assert kinds(executed) == kinds(nbformat.read(NOTEBOOK, as_version=4))


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
