"""Kernels on disk: kept where that can be done, and never in the way."""

import errno
from pathlib import Path

import numba
import pytest
from numba.core import caching

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


def test_each_number_each_type_and_each_processor_has_files_of_its_own(folder, monkeypatch):
    assert [kernel(1)(2), kernel(5)(2), kernel(1)(2.0)] == [3, 7, 3.0]
    assert len(files(folder)) == 6
    names = [path.name.split(".py")[1].split(".")[1] for path in files(folder)]
    assert len(set(names)) == 3
    other = ("x86_64-unknown-linux-gnu", "another", "")
    key = module._Cache._index_key

    def elsewhere(self, sig, codegen):
        signature, _, closure = key(self, sig, codegen)
        return signature, other, closure

    monkeypatch.setattr(module._Cache, "_index_key", elsewhere)
    there = kernel(1)
    assert there(2) == 3
    assert loaded(there) == 0
    assert len(files(folder)) == 8


def test_files_that_are_torn_or_hold_something_else_are_compiled_anew(folder):
    kernel(1)(2)
    for content in (b"", b"\x80", b"not a kernel"):
        for path in files(folder):
            path.write_bytes(content)
        again = kernel(1)
        assert again(2) == 3
        assert loaded(again) == 0


def test_a_full_disk_stops_nothing(monkeypatch):
    def full(self, name, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "_save_data", full)
    assert kernel(1)(2) == 3
    monkeypatch.undo()
    assert kernel(1)(2) == 3


def test_without_a_folder_that_can_be_written_kernels_are_compiled_each_time(monkeypatch, folder):
    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", lambda self: (_ for _ in ()).throw(OSError()))
    function = kernel(1)
    assert function(2) == 3
    assert files(folder) == []


def test_a_change_in_any_module_of_the_kernels_makes_what_is_kept_stale(monkeypatch):
    package = Path(module.__file__).parent
    made_of = {path.stem for path in package.glob("*.py") if "llvmlite" in path.read_text()} | {"compiled", "networks"}
    assert made_of <= set(module.SOURCES)
    kernel(1)(2)
    monkeypatch.setattr(module, "_STAMP", "another")
    again = kernel(1)
    assert again(2) == 3
    assert loaded(again) == 0
