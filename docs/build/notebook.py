"""Executes examples/raes.ipynb and writes it with its outputs: `make notebook`.

Outputs that would name this machine, its user or a folder of theirs are refused.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "raes.ipynb"
SECONDS = 300
"""How long a cell may take."""
FOREIGN = ("ipywidgets", "IProgress")
"""Of a line that another library writes about this environment, not about the run."""


def execute(folder: Path) -> nbformat.NotebookNode:
    """The notebook, run from its first cell to its last in a kernel of its own.

    Args:
        folder: the kernel's working directory.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def tidied(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what differs from machine to machine: times of execution, and lines of other libraries."""
    notebook.metadata = {"kernelspec": notebook.metadata.kernelspec, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_foreign(output)]
    return notebook


def private(text: str, folder: Path) -> list[str]:
    """What in a text belongs to this machine alone, with what stands around it."""
    names = {str(folder), str(Path.home()), sys.prefix, os.getcwd(), socket.gethostname(), getpass.getuser()}
    return sorted(text[max(0, text.index(name) - 80) :][:160] for name in names if len(name) > 4 and name in text)


def _is_foreign(output: nbformat.NotebookNode) -> bool:
    text = output.get("text", "")
    return output.output_type == "stream" and (output.name == "stderr" or any(word in text for word in FOREIGN))


def main() -> None:
    """Execute, check and write."""
    with tempfile.TemporaryDirectory(prefix="raes-") as name:
        notebook = tidied(execute(Path(name)))
        text = nbformat.writes(notebook)
        if found := private(text, Path(name)):
            sys.exit(f"the outputs hold {', '.join(found)}; print something else in examples/raes.ipynb")
    NOTEBOOK.write_text(text + "\n", encoding="utf-8")
    print(f"{NOTEBOOK.name}: {len(text):,} bytes with its outputs")


if __name__ == "__main__":
    main()
