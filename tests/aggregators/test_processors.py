"""The kernels on other processors: the same bits for any vector registers, and code for aarch64."""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detox.aggregators import RULES, votes
from detox.aggregators.kernels import fast
from detox.aggregators.kernels.fast import FastRows

SCRIPT = Path(__file__).with_name("on_processor.py")
X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """What the script prints for a processor with AVX2 at most, and for one like aarch64."""
    # What is compiled for another processor is kept for the next time; what has other registers must not be.
    jobs = {"aarch64": {"NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("aarch64"))}}
    jobs |= {"bits": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}} if X86 else {}
    running = {}
    for what, variables in jobs.items():
        environment = os.environ | variables
        command = [sys.executable, str(SCRIPT), what]
        running[what] = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    outputs = {what: process.communicate(timeout=600) for what, process in running.items()}
    for what, process in running.items():
        assert process.returncode == 0, f"{what}: {outputs[what][1].decode()}"
    return {what: json.loads(output) for what, (output, _) in outputs.items()}


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr("detox.aggregators.votes.FAST_FROM", 0)
    spec = importlib.util.spec_from_file_location("on_processor", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.bits()


@pytest.mark.skipif(not X86, reason="AVX2 is x86")
def test_avx2_gives_the_bits_of_this_processor(elsewhere, here):
    assert len(here) > 40
    assert elsewhere["bits"] == here


def test_registers_of_four_lanes_give_the_bits_of_this_processor(elsewhere, here):
    assert elsewhere["aarch64"]["bits"] == here


def test_every_kernel_compiles_for_aarch64(elsewhere):
    code = elsewhere["aarch64"]
    assert code["objects"] == code["modules"] > 20
    assert {"smin", "smax", "fmla", "fcvtl", "fdiv"} <= set(code["vector instructions"])


def test_rules_work_without_numba(monkeypatch):
    x = np.random.default_rng(0).normal(size=(11, 8000)).astype(np.float32)
    expected = RULES["multi_krum"](x, f=2)
    monkeypatch.setitem(sys.modules, "detox.aggregators.kernels.fast", None)  # as import leaves what it cannot find
    votes._kernels.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="numba cannot be used, so aggregation takes many times as long"):
            result = RULES["multi_krum"](x, f=2)
        np.testing.assert_allclose(result, expected, rtol=1e-6)
        np.testing.assert_array_equal(RULES["multi_krum"](x, f=2), result)  # and says so once
    finally:
        votes._kernels.cache_clear()


@pytest.mark.parametrize("module", ["gram", "linear", "order"])
def test_an_operation_whose_kernel_cannot_be_compiled_goes_the_plain_way(module, monkeypatch):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("LLVM has no such instruction\nand more")

    x = np.random.default_rng(0).normal(size=(15, 80)).astype(np.float32)
    work = {
        "gram": lambda given: given.gram(precise=True),
        "linear": lambda given: given.combine(np.ones(15) / 15),
        "order": lambda given: given.trimmed_mean(2),
    }[module]
    expected = work(FastRows(x))
    monkeypatch.setattr(fast, module, Broken())
    monkeypatch.setattr(fast, "_FAILED", set())
    message = "^no kernel for [a-z_]+ on this platform, so it takes longer: LLVM has no such instruction$"
    with pytest.warns(RuntimeWarning, match=message):
        result = work(FastRows(x))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_array_equal(work(FastRows(x)), result)  # and says so once


@pytest.mark.skipif(not X86, reason="names cores of x86")
def test_the_server_multiplies_small_matrices_alike_on_any_core():
    code = (
        "from detox.launch import environment; environment.apply()\n"
        "import hashlib, numpy as np\n"
        "x = np.random.default_rng(0).normal(size=(45, 45))\n"
        "results = x @ x.T, x @ x[0], np.linalg.eigh(x + x.T)[1]\n"
        "print(hashlib.sha256(b''.join(result.tobytes() for result in results)).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OPENBLAS_CORETYPE": core},
            capture_output=True,
            check=True,
        ).stdout
        for core in ("Nehalem", "Zen")
    }
    assert len(found) == 1
