"""The package's errors: one root, two kinds, and words that are right for one."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import detox.errors
from detox.errors import DetoxError, JobError, UserError
from detox.errors.words import counted, named, nearest
from detox.launch import failure

ROOT = Path(__file__).parents[1]


def _defined():
    """(module, class) of each exception that the package gives a public name."""
    for mark in ROOT.glob("*/py.typed"):
        for path in mark.parent.rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef) and re.fullmatch(r"[A-Z]\w*Error", node.name):
                    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                    yield f"detox.{module}", node.name


DEFINED = sorted(_defined())


@pytest.mark.parametrize(("module", "name"), DEFINED)
def test_every_error_has_the_root_and_the_status_of_its_kind(module, name):
    kind = getattr(importlib.import_module(module), name)
    assert issubclass(kind, DetoxError)
    error = kind("p is wrong")
    assert failure.in_words(error) == "p is wrong"
    assert failure.status_of(error) == (failure.MISTAKE if issubclass(kind, UserError) else failure.FAILURE)


def test_the_tree_in_the_docstring_has_every_error_in_its_place():
    drawn, inner = set(), DetoxError.__name__
    for line in detox.errors.__doc__.splitlines():
        if found := re.match(r"      x (\w+)|        \+ (\w+)", line):
            inner = found[1] or inner
            drawn.add((found[1], DetoxError.__name__) if found[1] else (found[2], inner))
    kinds = [getattr(importlib.import_module(module), name) for module, name in DEFINED if name != "DetoxError"]
    assert drawn == {(kind.__name__, kind.__mro__[1].__name__) for kind in kinds}


def test_what_users_catch_today_stays_caught():
    assert issubclass(UserError, ValueError)
    assert issubclass(JobError, RuntimeError)


def test_an_error_of_the_users_that_derives_from_ours_is_told_as_ours():
    class DataError(UserError):
        """One from a task outside the package."""

    assert failure.in_words(DataError("column 3 is empty")) == "column 3 is empty"
    assert failure.status_of(DataError("x")) == failure.MISTAKE


def test_one_is_counted_as_one_and_ranks_are_named_with_their_hosts():
    assert [counted(n, "rank") for n in (0, 1, 2)] == ["0 ranks", "1 rank", "2 ranks"]
    assert named([1], {}) == "rank 1"
    assert named([1, 2], {2: "b"}) == "ranks 1, 2 on b"
    assert nearest("meidan", ["mean", "median"]) == "; did you mean median?"
    assert nearest("xyz", ["median"]) == ""
