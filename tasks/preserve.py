"""What must not change is put back: a model around an evaluation, and the global generators of random numbers."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch

from detox.tasks.flat import FlatModel


@contextmanager
def preserved(model: FlatModel) -> Iterator[None]:
    """Afterwards all is as before: weights, buffers, gradients, what is trained, each module's mode, attributes and
    hooks, torch's settings, the current folder, and the random state of torch, numpy and Python.
    """
    weights = model.remember()
    modules = [(module, module.training, _Attributes(module)) for module in model.module.modules()]
    with random_state_preserved(), _settings_preserved(), torch.set_grad_enabled(torch.is_grad_enabled()):
        try:
            yield
        finally:
            for module, training, attributes in modules:
                attributes.put_back()
                if module.training != training:  # of a scripted module it is no attribute of Python's
                    module.training = training
            model.put_back(weights)


@contextmanager
def random_state_preserved() -> Iterator[None]:
    """Afterwards the global generators of torch, numpy and Python are in the state that they were in."""
    python, numpy, on_cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(on_cpu)
        if on_gpus:
            torch.cuda.set_rng_state_all(on_gpus)


@contextmanager
def _settings_preserved() -> Iterator[None]:
    """Torch's settings that decide the bits of what is computed, and the folder that paths start from."""
    folder, dtype, threads = os.path.realpath("."), torch.get_default_dtype(), torch.get_num_threads()
    precision, deterministic = torch.get_float32_matmul_precision(), torch.get_deterministic_debug_mode()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
        torch.set_deterministic_debug_mode(deterministic)
        with suppress(OSError):  # it may be gone
            os.chdir(folder)


class _Attributes:
    """A module's attributes, and what its dictionaries hold (parameters, buffers, hooks); not what is in the values."""

    def __init__(self, module: torch.nn.Module) -> None:
        own = vars(module)
        self._kept = [(own, dict(own))]
        self._kept += [(value, dict(value)) for value in own.values() if isinstance(value, dict)]

    def put_back(self) -> None:
        for live, kept in self._kept:
            _update(live, kept)


def _update(live: dict[Any, Any], kept: dict[Any, Any]) -> None:
    # What has not changed is not touched: compiled modules watch their dictionaries.
    for key in [key for key in live if key not in kept]:
        del live[key]
    for key, value in kept.items():
        if key not in live or live[key] is not value:
            live[key] = value
