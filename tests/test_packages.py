"""Which package may import which: arrows go one way, and no module is in a circle."""

import ast
import subprocess
import sys
from collections import defaultdict
from configparser import ConfigParser
from pathlib import Path

import pytest

import detox

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "errors": set(),
    "assignment": {"errors"},
    "wire": {"errors"},
    "aggregators": {"errors"},
    "tasks": {"assignment", "errors"},
    "ps": {"aggregators", "assignment", "errors", "tasks", "wire"},
    "worker": {"aggregators", "assignment", "errors", "tasks", "wire"},
    "config": {"aggregators", "assignment", "errors", "ps", "tasks", "wire", "worker"},
    "reports": {"aggregators", "assignment", "config", "errors", "ps", "tasks", "wire", "worker"},
    "commands": {"aggregators", "assignment", "config", "errors", "ps", "tasks", "worker"},
    "launch": {"aggregators", "assignment", "config", "errors", "ps", "reports", "tasks", "wire", "worker"},
}


def _modules():
    """Module name -> file, of all packages."""
    files = {path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")} | {ROOT / "__init__.py"}
    return {
        ".".join(("detox", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in files
    }


def _imports(path, modules, at_start=False):
    """The modules of ours that a file imports; those of functions and of type checking too, unless `at_start`."""
    tree = ast.parse(path.read_text())
    inner = set()
    if at_start:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
                isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            ):
                inner |= {id(child) for child in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("detox"):
            found.add(node.module)
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name in modules}


def test_packages_are_those_that_are_installed_and_that_are_marked():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    installed = {name.split(".")[1] for name in setup["options"]["packages"].split() if name != "detox"}
    marked = {path.parent.name for path in ROOT.glob("*/py.typed")}  # by which errors tell our code from the user's
    assert installed == set(MAY_IMPORT) == marked


def test_to_import_detox_costs_nothing_and_all_its_names_are_there():
    code = """
import sys
before = set(sys.modules)
import detox
assert set(sys.modules) - before == {"detox"}, set(sys.modules) - before
detox.train, detox.runs, detox.plan, detox.Run
heavy = {"torch", "mpi4py", "numba", "pandas", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
for name in detox.__all__:
    getattr(detox, name)
assert callable(detox.train) and detox.plan.__name__ == "expect"
"""
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_what_detox_has_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module detox has no attribute nothing"):
        detox.nothing  # noqa: B018


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package):
    modules = _modules()
    wrong = []
    for path in (ROOT / package).rglob("*.py"):
        others = {name.split(".")[1] for name in _imports(path, modules)} - {package}
        wrong += [f"{path.relative_to(ROOT)} imports {other}" for other in sorted(others - MAY_IMPORT[package])]
    assert not wrong


def test_the_arrows_between_packages_make_no_circle():
    def below(package):
        return MAY_IMPORT[package].union(*map(below, MAY_IMPORT[package]))

    assert all(package not in below(package) for package in MAY_IMPORT)


def test_no_module_starts_mpi_when_it_is_imported_but_the_job_and_its_transport():
    modules = _modules()
    start = {"detox.wire.job", "detox.wire.transport"}
    assert [
        name for name, path in modules.items() if name not in start and start & _imports(path, modules, at_start=True)
    ] == []


def test_no_module_is_in_a_circle_of_imports():
    modules = _modules()
    graph = {
        name: {other for other in _imports(path, modules, at_start=True) if modules[other].name != "__init__.py"}
        for name, path in modules.items()
    }
    reached = defaultdict(set)

    def reach(start):
        todo = list(graph[start])
        while todo:
            name = todo.pop()
            if name not in reached[start]:
                reached[start].add(name)
                todo += graph[name]
        return reached[start]

    assert [name for name in sorted(modules) if name in reach(name)] == []
