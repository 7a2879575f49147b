"""What makes a computation give the same bits again, and what a rank says of its hardware."""

import gc
import subprocess
import sys

import pytest
import torch

from detox.launch.environment import driver, end_start, fingerprint, settings

CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 2024\nGCC version:  gcc 11.4\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86  Release Build  (a@b)  Wed Jan 15 2025\n"


@pytest.mark.parametrize(
    ("told", "version"), [(CLOSED, "550.54.15"), (OPEN, "570.86"), ("", ""), ("NVRM version:", "")]
)
def test_the_version_of_the_driver_is_read_from_what_it_says(told, version):
    assert driver(told) == version


def test_a_rank_on_the_cpu_says_nothing_of_gpus():
    facts = fingerprint(torch.device("cpu"))
    assert {facts[name] for name in ("gpu", "gpu_number", "gpu_driver", "cuda", "cudnn")} == {""}


@pytest.fixture(scope="module")
def start():
    """What a process says of itself at its start, as a rank's is: of the collector, of torch."""
    code = """
import gc, weakref
from detox.launch.environment import apply, begin_start, end_start, fix_torch
looks = [gc.get_threshold()[0]]
apply()
looks.append(gc.get_threshold()[0])
begin_start()
looks.append(gc.get_threshold()[0])
class Dead: pass
dead = Dead(); dead.itself = dead; gone = weakref.ref(dead); del dead
import torch
torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
fix_torch()
looks += [gc.get_threshold()[0], gc.get_freeze_count()]
import detox.launch.work
late = {"imported": "late"}
late["itself"] = late
end_start()
print(*looks, gc.get_threshold()[0], gc.get_freeze_count(), int(gone() is None))
print(any(kept is late for kept in gc.get_objects()))
cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
print(torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32,
      matmul.allow_tf32, torch.get_float32_matmul_precision(), torch.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def test_nothing_computes_with_less_than_float32_or_in_another_order(start):
    assert settings().items() >= {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NVIDIA_TF32_OVERRIDE": "0"}.items()
    assert start[2] == ["True", "True", "False", "False", "False", "highest", "1"]


def test_garbage_is_looked_for_rarely_during_imports_and_not_among_them(start):
    before, of_any_command, meanwhile, with_torch, kept_too_early, after, imported, collected = map(int, start[0])
    assert before == of_any_command == after < meanwhile == with_torch
    assert imported > 100_000
    assert kept_too_early == 0
    assert collected == 1
    assert start[1] == ["False"]


def test_a_process_that_is_no_rank_keeps_its_collector_as_it_is():
    before = gc.get_threshold(), gc.get_freeze_count()
    end_start()
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_what_every_rank_imports_is_nothing_that_only_one_of_them_needs():
    code = "import sys, detox.launch.train; print({'tyro', 'rich', 'numba', 'matplotlib', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_rank_on_a_gpu_says_which():
    facts = fingerprint(torch.device("cuda", 0))
    assert all(facts[name] for name in ("gpu", "gpu_number", "cuda", "cudnn"))
