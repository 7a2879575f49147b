"""Kernels on disk: kept where that can be done, and never in the way."""

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from detox.aggregators.kernels import compiled as module
from detox.aggregators.kernels.compiled import compiled


def kernel(add):
    @compiled
    def shifted(x):
        return x + add

    return shifted


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def loaded(function):
    return sum(function.stats.cache_hits.values())


def test_a_kernel_is_compiled_once(folder):
    assert kernel(1)(2) == 3
    again = kernel(1)
    assert again(2) == 3
    assert loaded(again) == 1


def test_each_number_and_each_type_has_files_of_its_own(folder):
    assert [kernel(1)(2), kernel(5)(2), kernel(1)(2.0)] == [3, 7, 3.0]
    assert len(files(folder)) == 6
    names = [path.name.split(".py")[1].split(".")[1] for path in files(folder)]
    assert len(set(names)) == 3


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names cores of x86")
def test_each_processor_has_files_of_its_own(folder, tmp_path_factory):
    script = tmp_path_factory.mktemp("script") / "script.py"
    script.write_text(
        "from detox.aggregators.kernels.compiled import compiled\n"
        "kernel = compiled(lambda x: x + 1)\n"
        "print(kernel(2), sum(kernel.stats.cache_hits.values()))\n"
    )
    found = []
    for core in ("nehalem", "haswell", "nehalem"):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(folder), "NUMBA_CPU_NAME": core, "NUMBA_CPU_FEATURES": ""}
        said = subprocess.run([sys.executable, script], env=environment, capture_output=True, check=True, text=True)
        found.append((*map(int, said.stdout.split()), len(files(folder))))
    assert found == [(3, 0, 2), (3, 0, 4), (3, 1, 4)]


def test_files_that_are_torn_or_hold_something_else_are_compiled_anew(folder):
    kernel(1)(2)
    for content in (b"", b"\x80", b"not a kernel"):
        for path in files(folder):
            path.write_bytes(content)
        again = kernel(1)
        assert again(2) == 3
        assert loaded(again) == 0


def test_where_nothing_can_be_written_nothing_is_stopped(folder):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        assert kernel(1)(2) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = kernel(1)
    assert again(2) == 3
    assert loaded(again) == 0
    assert files(folder)


def test_a_kernel_for_which_there_is_no_folder_is_compiled_each_time(folder):
    names = {"compiled": compiled}
    exec("@compiled\ndef shifted(x):\n    return x + 1", names)  # in no file, so numba finds no place beside it
    assert names["shifted"](2) == 3
    assert files(folder) == []


def test_a_change_in_any_module_of_the_kernels_makes_what_is_kept_stale(monkeypatch):
    package = Path(module.__file__).parent
    made_of = {path.stem for path in package.glob("*.py") if "llvmlite" in path.read_text()} | {"compiled", "networks"}
    assert made_of <= set(module.SOURCES)
    kernel(1)(2)
    monkeypatch.setattr(module, "STAMP", "another")
    again = kernel(1)
    assert again(2) == 3
    assert loaded(again) == 0
