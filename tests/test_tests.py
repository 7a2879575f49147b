"""What the tests themselves keep to, as CONTRIBUTING.md says; ruff adds that they use no private member (SLF001)."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MODULES = sorted(TESTS.rglob("*.py"))
LONGEST = 80  # characters of a test's name


def names_that_are_too_long(tree):
    return [
        f"{node.name}: {len(node.name)} characters"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name) > LONGEST
    ]


def asserted_times(tree):
    """Comparisons with what a clock of the machine says; to give up waiting, a test fails by itself."""
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        and re.search(r"\btime\.(time|monotonic|perf_counter|process_time)\(", ast.unparse(node))
    ]


def private_names(tree):
    """Those that are imported from the package, or set by name in it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("detox"):
            found += [name.name for name in node.names if name.name.startswith("_")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            words = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            found += [word for word in words if re.search(r"(^|\.)_[a-z]", word, re.IGNORECASE)]
    return found


def swapped_classes(tree):
    """Classes of the package that are replaced, or of which a member is, while the test runs."""
    ours = {
        name.asname or name.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
        if (getattr(node, "module", None) or name.name).startswith("detox")
    }
    classes = {name for name in ours if is_class(name)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in ast.walk(target)]
            found += [
                ast.unparse(part)
                for part in targets
                if isinstance(part, ast.Attribute) and ast.unparse(part.value) in classes
            ]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            what, member, *_ = [ast.unparse(argument).strip("'") for argument in node.args]
            whole = what if what.startswith("detox.") else f"{what}.{member}"
            if what in classes or ((what in ours or what == whole) and is_class(whole.rpartition(".")[2])):
                found.append(ast.unparse(node))
    return found


def is_class(name):
    return bool(re.fullmatch(r"[A-Z]\w*[a-z]\w*", name))


RULES = [names_that_are_too_long, asserted_times, private_names, swapped_classes]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_test_has(rule):
    found = {str(path.relative_to(TESTS)): rule(ast.parse(path.read_text())) for path in MODULES}
    assert {path: lines for path, lines in found.items() if lines} == {}


BROKEN = """
import time
from detox.ps.folder import RunFolder, _private
from detox.ps import server as module


def test_a_name_that_says_more_than_anybody_would_read_in_a_line_of_a_report_of_failures_or_a_log():
    RunFolder.end, module.count = None, 3
    monkeypatch.setattr(RunFolder, "end", None)
    monkeypatch.setattr(module, "Server", None)
    monkeypatch.setattr("detox.ps.server.Server", None)
    monkeypatch.setattr(module, "LIMIT", 3)
    monkeypatch.setattr("detox.ps.server._limit", 3)
    assert time.monotonic() - begin < 3
"""


def test_each_of_these_rules_finds_what_breaks_it():
    found = {rule.__name__: len(rule(ast.parse(BROKEN))) for rule in RULES}
    assert found == {"names_that_are_too_long": 1, "asserted_times": 1, "private_names": 2, "swapped_classes": 4}


BREAKS = """
import pytest

def test_mpi():
    import mpi4py.MPI

@pytest.mark.parametrize("lack", ["no GPU", "no pandas"])
def test_skipped(lack):
    pytest.skip(lack)
"""


def test_mpi_in_pytest_s_own_process_and_a_skip_that_ci_does_not_allow_are_failures(tmp_path):
    shutil.copy(TESTS / "conftest.py", tmp_path)
    (tmp_path / "mpi4py").mkdir()
    for name in ("__init__.py", "MPI.py"):  # in its place, for it cannot be started in what a job's rank starts
        (tmp_path / "mpi4py" / name).touch()
    (tmp_path / "test_it.py").write_text(BREAKS)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{TESTS}", "DETOX_MAY_SKIP": "no GPU"}
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_it.py"]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed, 2 skipped" in done.stdout, done.stdout + done.stderr
    assert "MPI was imported into pytest's own process" in done.stdout
    told = done.stdout.split('skipped, but not for "no GPU":')[1]
    assert "test_skipped[no pandas]: Skipped: no pandas" in told
    assert "test_skipped[no GPU]" not in told
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
