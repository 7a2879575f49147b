"""The scripts of benchmarks/ and experiments/, which are no part of the package."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def script(monkeypatch):
    """Imports one of them by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    return importlib.import_module
