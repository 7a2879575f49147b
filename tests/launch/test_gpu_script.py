"""benchmarks/gpu.sh without a GPU: it says so; and its checks, tried on the CPU, tell right from wrong."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detox.aggregators import RULES

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    """The module, which is in the checkout alone."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    return importlib.import_module("benchmarks.gpu")


def test_without_a_gpu_the_script_says_so_and_has_a_status_of_its_own():
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CUDA_VISIBLE_DEVICES": "",
    }
    line = ["bash", "benchmarks/gpu.sh"]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3
    assert "device = cuda, but torch" in done.stderr


def test_a_rule_that_differs_on_the_device_is_found(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "RULES", {"mean": RULES["mean"], "median": RULES["median"]})
    assert gpu.aggregators(CPU, d=100, rounds=1)
    off = lambda x, f: RULES["mean"](x, f=f) * (1.001 if isinstance(x, torch.Tensor) else 1)  # noqa: E731
    off.tolerates = RULES["mean"].tolerates
    monkeypatch.setattr(gpu, "RULES", {"off": off})
    assert not gpu.aggregators(CPU, d=100, rounds=1)
    assert "| 1.0e-03 TOO FAR |" in capsys.readouterr().out


def test_transfers_bring_what_was_sent(gpu, capsys):
    assert gpu.transfer(CPU, d=1000, rounds=1)
    assert "| votes from page-locked rows | 60000 |" in capsys.readouterr().out


@pytest.mark.parametrize("second", ["same", "other"])
def test_two_processes_that_differ_are_found(gpu, second, monkeypatch, capsys):
    told = iter(["mlp 12\n", "mlp 12\n" if second == "same" else "mlp 13\n"])

    class Process:
        returncode = 0

        def __init__(self, *_, **__):
            self.text = next(told)

        def communicate(self):
            return self.text, ""

    monkeypatch.setattr(gpu.subprocess, "Popen", Process)
    monkeypatch.setattr(gpu, "compute", lambda name, device: np.ones(3))
    assert gpu.bits(CPU, ["mlp"]) == (second == "same")
    assert ("DIFFER" in capsys.readouterr().out) == (second == "other")
