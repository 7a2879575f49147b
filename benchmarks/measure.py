"""Timing that neighbours on the machine disturb little, and the limit to compare with."""

import contextlib
import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core.registry import cpu_target

from detox.aggregators.kernels.vectors import native_lanes

K = TypeVar("K")
RESNET18 = 11_173_962
"""Parameters of ResNet-18 with 10 classes."""


def machine() -> str:
    """Processor, cores and libraries, in one line."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{names[0] if names else platform.processor()}, {cores} cores; Python {platform.python_version()}, "
        f"numpy {np.__version__}, numba {numba.__version__}; kernels for {instruction_set()}"
    )


PROCESSORS = {
    "native": {},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "avx512": {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": "+avx512f"},
}
"""What makes numba compile for another processor than it runs on."""


def instruction_set() -> str:
    """What the kernels are compiled for in this process: LLVM's name of the processor, and lanes of float32."""
    context = cpu_target.target_context
    return f"{context.codegen().magic_tuple()[1]}, {native_lanes(context)} lanes"


def gradients(n: int, d: int, seed: int = 0) -> np.ndarray:
    """(n, d) float32, normal, without the minutes that drawing each number would take."""
    rng = np.random.default_rng(seed)
    block = rng.normal(size=1 << 20).astype(np.float32)
    x = np.empty((n, d), np.float32)
    for row in x:
        start = int(rng.integers(len(block)))
        for low in range(0, d, len(block)):
            part = row[low : low + len(block)]
            part[:] = np.roll(block, start + low // 7)[: len(part)]
    return x


def keep_memory() -> None:
    """Let glibc keep what is freed, as a process does that steps again and again.

    Else every output is fresh memory, and on a virtual machine its first touch costs more than the rule.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD


@numba.njit(nogil=True, fastmath={"reassoc", "nsz"}, cache=True)
def _sum(x: Any) -> float:
    total = np.float32(0)
    for i in range(x.size):
        total += x[i]
    return total


def read_once(x: np.ndarray, threads: int) -> None:
    """The limit: every element is loaded once, by that many threads."""
    if threads == 1:
        _sum(x.reshape(-1))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_sum, np.array_split(x.reshape(-1), threads)))


def interleaved(jobs: dict[K, Callable[[], Any]], rounds: int) -> dict[K, float]:
    """Median seconds of each job; every round runs all of them in turn, after one that is not counted."""
    times: dict[K, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(seconds) for name, seconds in times.items()}
