"""A run that would be another now says so, and does not go on by itself."""

import pytest

from detox.config import Config
from detox.launch.provenance import ChangedError, changes, check, facts_of, place_of, workers_of
from detox.ps.folder import RunFolder
from detox.tasks import create_task

FACTS = {"source of mine": "ab", "data": "cd", "torch": "2.13", "ranks": "3", "machine": "x86_64 AVX2"}


@pytest.fixture(params=["interrupted", "finished"])
def folder(request, tmp_path):
    """A run that was made with FACTS."""
    folder = RunFolder(tmp_path / "run")
    folder.create("")
    check(folder, FACTS, accept=False, say=pytest.fail)
    folder.save_checkpoint(3, {})
    if request.param == "finished":
        folder.finish({})
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source of mine": "ff"}, "source of mine: was ab, is now ff"),
        ({"source of helper": "ff"}, "source of helper: was none, is now ff"),
        ({"source of mine": None}, "source of mine: was ab, is now none"),
        ({"data": "00"}, "data: was cd, is now 00"),
        ({"torch": "2.14"}, "torch: was 2.13, is now 2.14"),
        ({"ranks": "5"}, "ranks: was 3, is now 5"),
        ({"machine": "x86_64 AVX512"}, "machine: was x86_64 AVX2, is now x86_64 AVX512"),
    ],
)
def test_what_has_changed_is_said_with_old_and_new_and_needs_to_be_accepted(folder, change, words):
    now = {name: value for name, value in (FACTS | change).items() if value is not None}
    with pytest.raises(ChangedError) as told:
        check(folder, now, accept=False, say=pytest.fail)
    assert str(told.value).splitlines()[1:-1] == [f"  {words}"]
    assert "--accept-changes" in str(told.value)
    assert "--no-resume" in str(told.value)
    assert folder.read_provenance() == FACTS
    said = []
    check(folder, now, accept=True, say=said.append)
    assert said == [f"accepted: {words}"]
    assert changes(folder, now) == []
    assert words in str(folder.read_provenance())


def test_what_is_as_it_was_goes_on(folder):
    check(folder, FACTS, accept=False, say=pytest.fail)
    check(folder, {"ranks": "3"}, accept=False, say=pytest.fail)
    assert folder.read_provenance() == FACTS


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\x00"])
def test_where_it_is_not_known_what_a_run_was_made_with_that_is_said(folder, content):
    path = folder.path / "provenance.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ChangedError, match=r"is not known: its provenance\.json is missing or damaged"):
        check(folder, FACTS, accept=False, say=pytest.fail)


def test_a_run_without_a_checkpoint_begins_anew_whatever_it_was_made_with(tmp_path):
    folder = RunFolder(tmp_path)
    folder.create("")
    check(folder, FACTS, accept=False, say=pytest.fail)
    check(folder, FACTS | {"data": "00"}, accept=False, say=pytest.fail)
    assert folder.read_provenance()["data"] == "00"


def test_all_that_decides_a_run_is_known_of_it():
    config = Config(model="softmax")
    facts = facts_of(config, create_task("digits", model="softmax")) | place_of(config, 3)
    assert set(facts) == {"data", "detox", "torch", "numpy", "numba", "python", "ranks", "machine"}
    assert all(facts.values())
    some = {"host": "a", "machine": "x86_64", "cpu_capability": "AVX2", "gpu": "", "torch": "2.13"}
    other = {**some, "host": "b", "cpu_capability": "DEFAULT"}
    assert workers_of({1: some, 2: {**some, "host": "c"}}) == {"machines of workers": "x86_64 AVX2 2.13"}
    assert workers_of({1: other, 2: some}) == {"machines of workers": "x86_64 AVX2 2.13, x86_64 DEFAULT 2.13"}
