"""What fuzzing has found worth keeping, to all parsers again; `python -m benchmarks.fuzz` looks for more."""

import importlib
from pathlib import Path

import pytest

NAMES = [
    *("header", "stream", "work", "pulse", "slices", "question", "evidence", "gradient", "ready"),
    *("ports", "addresses", "computed", "sliced"),
]


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    return importlib.import_module("benchmarks.fuzz")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_parser_is_fed_is_accepted_or_refused_and_no_more(fuzz, name):
    assert list(fuzz.PARSERS) == NAMES
    kept = fuzz.read_corpus(name)
    assert kept
    assert all(fuzz.feed(name, seed) for seed in fuzz.seeds(name))
    for other in NAMES:
        for content in kept:
            fuzz.feed(other, content)
    for content in fuzz.seeds(name):
        for cut in range(len(content)):
            fuzz.feed(name, content[:cut])
            fuzz.feed(name, content[cut:])
