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

from detox.aggregators import RULES

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


WITHOUT = """
import json
import sys
import types
import warnings

import numpy as np

from detox.aggregators import RULES
from detox.aggregators.rows import FAST_FROM

LAME = sys.argv[1]  # the module of kernels that is missing or broken


class Broken(types.ModuleType):
    def __getattr__(self, name):
        raise RuntimeError("LLVM has no such instruction\\nand more")


sys.modules[f"detox.aggregators.kernels.{LAME}"] = None if LAME == "fast" else Broken(LAME)
if LAME != "fast":
    import detox.aggregators.kernels
    setattr(detox.aggregators.kernels, LAME, sys.modules[f"detox.aggregators.kernels.{LAME}"])
x = np.random.default_rng(0).normal(size=(11, 2 * FAST_FROM)).astype(np.float32)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    results = [RULES[name](x, f=f) for name, f in json.loads(sys.argv[3]) for _ in range(2)]
np.save(sys.argv[2], results)
print(json.dumps([str(warning.message) for warning in told]))
"""


LACKING = "no kernel for {} on this platform, so it takes longer: LLVM has no such instruction"


@pytest.mark.parametrize(
    ("lame", "said"),
    [
        ("fast", ["numba cannot be used, so aggregation takes many times as long: "]),
        ("gram", [LACKING.format("gram")]),
        ("linear", [LACKING.format("mix"), LACKING.format("trimmed_mean")]),
        ("order", [LACKING.format("trimmed_mean")]),
    ],
)
def test_rules_work_where_kernels_do_not_and_say_so_once(lame, said, tmp_path):
    work = [("mean", 0), ("multi_krum", 2), ("trimmed_mean", 2)]
    line = [sys.executable, "-c", WITHOUT, lame, tmp_path / "results.npy", json.dumps(work)]
    done = subprocess.run(line, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert all(sum(text.startswith(words) for text in told) == 1 for words in said), told
    assert len(told) == len(set(told)) == len(said), told
    results = np.load(tmp_path / "results.npy")
    x = np.random.default_rng(0).normal(size=(11, results.shape[1])).astype(np.float32)
    for index, (name, f) in enumerate(work):
        expected = RULES[name](x, f=f)
        np.testing.assert_allclose(results[2 * index], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
        np.testing.assert_array_equal(results[2 * index], results[2 * index + 1])


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
