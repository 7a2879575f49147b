"""What a process runs under: threads and instruction set, which have to be equal for gradients to be bit-equal and are
set before torch is imported; folders that libraries write to; signals."""

import gc
import os
import platform
import re
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
INSTRUCTION_SET = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's products of matrices
}
CUDA = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it, cuBLAS sums in an order that differs from call to call
    "NVIDIA_TF32_OVERRIDE": "0",  # no library computes with 10 bits of a float32's 23
}
COMPILER = {"TORCHINDUCTOR_DETERMINISTIC": "1"}
_USUAL = gc.get_threshold()
_AT_START = (1_000_000, *_USUAL[1:])
"""More objects than a start makes: what a rank imports is about all that there is meanwhile, and it stays. Python
would look through it again and again for cycles of dead ones, which was a tenth of the CPU time of a start."""


def settings() -> dict[str, str]:
    """The variables that every rank runs under."""
    fixed = dict.fromkeys(THREADS, "1") | CUDA | COMPILER
    if platform.machine() in ("x86_64", "AMD64"):
        fixed |= INSTRUCTION_SET
    return fixed


def apply() -> None:
    """Sets the variables in this process, before it imports much."""
    os.environ.update(settings())
    os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")
    for name, value in folders(dict(os.environ)).items():
        os.environ[name] = value


def folders(given: dict[str, str]) -> dict[str, str]:
    """The variables of folders that have to be set where what is given leaves MPI, numba or matplotlib without one.

    Args:
        given: the environment.
    """
    found = {}
    home = given.get("HOME", "")
    if not home:  # Open MPI does not start without
        found["HOME"] = home = _home()
    if not _can_write(Path(home)):
        package = Path(__file__).resolve().parents[1] / "aggregators"
        if "NUMBA_CACHE_DIR" not in given and not _can_write(package / "__pycache__"):
            found["NUMBA_CACHE_DIR"] = _own_folder("numba")
        if "MPLCONFIGDIR" not in given:
            found["MPLCONFIGDIR"] = _own_folder("matplotlib")
    return found


def _home() -> str:
    """The user's home by the system's records, or else a folder for temporary files."""
    try:
        import pwd

        home = pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        home = ""
    return home if home and Path(home).is_dir() else tempfile.gettempdir()


def _can_write(path: Path) -> bool:
    """Whether the folder can be written, or made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def _own_folder(name: str) -> str:
    """A folder for temporary files that is this user's alone, for code is loaded from it."""
    path = Path(tempfile.gettempdir(), f"detox-ps-{name}-{os.getuid()}")
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
        if path.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError
    except OSError:
        return tempfile.mkdtemp(prefix=f"detox-ps-{name}-")
    return str(path)


def all_here() -> bool | None:
    """Whether Open MPI has put all ranks of the job on this host; None where that is not known."""
    size = os.environ.get("OMPI_COMM_WORLD_SIZE")
    return None if size is None else os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == size


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""By which a rank is told to end: Ctrl-C, mpirun's, the launcher's."""


def hold_signals() -> None:
    """Makes the signals wait until this rank knows what to do with them; see handle_signals."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def handle_signals(handler: Any) -> None:
    """What the signals do from now on; those that waited come now."""
    for number in SIGNALS:
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def begin_start() -> None:
    """Makes Python look for dead cycles rarely until end_start: for a rank, before it imports much."""
    gc.set_threshold(*_AT_START)


def end_start() -> None:
    """Makes Python look for dead cycles as usual, but not in what there is now: what a rank needs is imported, its task
    and model are made. Changes nothing where no start has begun, as in a process of the user's own."""
    if gc.get_threshold() == _AT_START:
        gc.collect()  # what is dead would stay for ever
        gc.freeze()
        gc.set_threshold(*_USUAL)


def fix_torch() -> None:
    """One thread of torch, and the same bits for the same computation: on a GPU, with `CUDA` set."""
    import torch

    from detox.tasks.devices import fix_gpu

    torch.set_num_threads(1)
    # As use_deterministic_algorithms(True), which also imports torch's compiler: a second a rank, which few tasks use.
    torch.set_deterministic_debug_mode("error")
    fix_gpu()


def fingerprint(device: "torch.device") -> dict[str, str | int]:
    """What decides the bits of a gradient that this rank computes on the device, for the self-test's report."""
    import torch

    gpu = device.type == "cuda"
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if gpu else "",
        "gpu_number": str(device.index) if gpu else "",
        "gpu_driver": driver(_told_by_driver()) if gpu else "",
        "cuda": torch.version.cuda or "" if gpu else "",
        "cudnn": str(torch.backends.cudnn.version()) if gpu else "",  # type: ignore[no-untyped-call]
    }


def driver(told: str) -> str:
    """The version in what NVIDIA's driver says of itself; empty where there is none."""
    found = re.search(r"^NVRM version:.*?\s(\d+\.\d+(?:\.\d+)*)\s", told, re.MULTILINE)
    return found.group(1) if found else ""


def _told_by_driver() -> str:
    try:
        return Path("/proc/driver/nvidia/version").read_text(errors="replace")
    except OSError:  # as in a container that does not show it
        return ""
