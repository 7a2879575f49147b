"""The notebook of docs/python.md, executed: `detox.train` starts real jobs, and what it returns tells of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "experiments" / "python.ipynb"


def _cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def outputs(plain_jobs_of_session):
    """By code cell, what it printed and showed."""
    folder = plain_jobs_of_session.folder / "notebook"
    folder.mkdir()
    for file in (NOTEBOOK, NOTEBOOK.with_name("digits.toml")):
        shutil.copy(file, folder)
    line = [sys.executable, "-c", "from nbclient.cli import main; main()", "--output", "done.ipynb", NOTEBOOK.name]
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}  # a test may set it
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return {
        "".join(cell["source"]): "".join(
            "".join(output.get("text", ())) or "".join(output["data"]["text/plain"]) for output in cell["outputs"]
        )
        for cell in _cells(folder / "done.ipynb")
    }


def test_the_notebook_runs_and_shows_what_the_job_prints_and_the_run_tells(outputs):
    shown = list(outputs.values())
    assert "mpirun" in shown[0]
    assert "step 60" in shown[0]
    status, accuracy, votes = eval(shown[1])
    assert (status, votes["majority"] > 0) == ("finished", True)
    assert accuracy > 0.8
    assert f"60    {accuracy:.6f}" in shown[2]
    assert "<Axes" in shown[3] or "<Figure" in shown[3]
    assert shown[5].startswith("Sequential(")
    findings = eval(shown[6])
    assert sum(counts["dissented"] for _, _, counts, _ in findings) > 0
    assert shown[7] == ""  # quiet
    assert list(eval(shown[8]).values()) == [accuracy]
    assert eval(shown[9]) == pytest.approx(5 * (36 + 1) / 455)  # groups of 455 with two or three
    assert shown[10] == "digits.toml: stpes: there is no such field; did you mean steps?\n"


def test_the_examples_of_the_page_and_of_the_readme_are_cells_of_the_notebook():
    cells = ["".join(cell["source"]) for cell in _cells(NOTEBOOK)]
    page = (ROOT / "docs" / "python.md").read_text() + (ROOT / "README.md").read_text().replace("experiments/", "")
    for example in re.findall(r"```python\n(import detox\n.*?|(?!import|from).*?)```", page, flags=re.DOTALL):
        assert example.strip() in cells


def test_the_notebook_is_kept_without_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in _cells(NOTEBOOK))
