"""Threads and instruction set: what has to be equal for gradients to be bit-equal, set before torch is imported."""

import os
import platform

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
INSTRUCTION_SET = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
CUDA = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
COMPILER = {"TORCHINDUCTOR_DETERMINISTIC": "1"}


def settings() -> dict[str, str]:
    """The variables that every rank runs under."""
    fixed = dict.fromkeys(THREADS, "1") | CUDA | COMPILER
    if platform.machine() in ("x86_64", "AMD64"):
        fixed |= INSTRUCTION_SET
    return fixed


def apply() -> None:
    """Sets the variables in this process."""
    os.environ.update(settings())
    os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")


def fix_torch() -> None:
    """One thread of torch, and deterministic algorithms."""
    import torch

    torch.set_num_threads(1)
    # As use_deterministic_algorithms(True), which also imports torch's compiler: a second a rank, which few tasks use.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False


def fingerprint() -> dict[str, str | int]:
    """What decides the bits of a gradient on this host, for the self-test's report."""
    import torch

    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }
