"""Where a rank computes: which GPU of its host is its own, what fixes its bits, and vectors on their way off it."""

import os
from collections.abc import Mapping

import numpy as np
import torch

from detox.tasks.task import TaskError

# The launcher's mpirun and any other Open MPI; MPICH and Intel MPI; srun. In this order: an mpirun within a job of
# Slurm's hands all its ranks the same SLURM_LOCALID.
LOCAL_RANK = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")


def find_device(name: str) -> torch.device:
    """The device of that name on this rank, which is made torch's own where it is a GPU.

    Args:
        name: "cpu"; "cuda", for GPU l mod n of the n on this host on the rank that is the l-th of those on it; or
            "cuda:N".

    Raises:
        TaskError: there is no such device, or it is not known which GPU is this rank's.
    """
    kind, _, index = name.partition(":")
    if kind == "cpu" and not index:
        return torch.device("cpu")
    if kind != "cuda" or not (index.isdigit() or name == "cuda"):
        raise TaskError(f"unknown device {name!r}; known: cpu, cuda, cuda:N")
    count = torch.cuda.device_count()
    if not count:
        raise TaskError(f"device = {name}, but {_why_none(os.environ)}; device = cpu computes without")
    if index and int(index) >= count:
        raise TaskError(f"device = {name}, but torch sees {count} GPUs here, cuda:0 to cuda:{count - 1}")
    device = torch.device("cuda", int(index) if index else choose_gpu(os.environ, count))
    torch.cuda.set_device(device)  # what a task puts on "cuda" is there too
    return device


def choose_gpu(environment: Mapping[str, str], count: int) -> int:
    """Number of the GPU for this rank, of the `count` that its process sees.

    Args:
        environment: of the process, in which the launcher says which of its host's ranks this is.
        count: at least 1.

    Raises:
        TaskError: it does not say so, and there are several GPUs.
    """
    rank = next((environment[name] for name in LOCAL_RANK if environment.get(name, "").isdigit()), None)
    if rank is None and count > 1:
        raise TaskError(
            f"device = cuda: which of {count} GPUs is this rank's is not known, for none of {', '.join(LOCAL_RANK)} is "
            "set; give device = cuda:N, or let each rank see one GPU (CUDA_VISIBLE_DEVICES)"
        )
    return int(rank or 0) % count


def fix_gpu() -> None:
    """The same bits for the same computation on a GPU, with detox.launch.environment.CUDA; nothing to the CPU."""
    torch.backends.cudnn.benchmark = False  # the quickest kernel would be another from start to start
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def seed_torch(device: torch.device, seed: int) -> None:
    """Seeds torch's global generators of the CPU and of a device's kind."""
    # torch.manual_seed also looks for kinds of device that are not used, for longer than a small gradient takes.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _why_none(environment: Mapping[str, str]) -> str:
    """Why torch sees no GPU, and what to do, as far as that can be told."""
    if not torch.backends.cuda.is_built():  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} here is built without CUDA: install a build with it on every host"
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES = {visible!r})"
    return f"torch sees no GPU here{hidden}: has the job asked for one, and does nvidia-smi show it"


def host_rows(count: int, size: int, device: torch.device) -> np.ndarray:
    """(count, size) float32 on the host, not set; page-locked where they are on their way to a GPU, which is faster."""
    rows: np.ndarray = torch.empty((count, size), dtype=torch.float32, pin_memory=device.type == "cuda").numpy()
    return rows


def to_host(vector: torch.Tensor) -> np.ndarray:
    """The vector as an array: the same memory on the CPU, from a GPU a copy, by way of page-locked memory."""
    vector = vector.detach()
    if vector.device.type == "cuda":
        vector = torch.empty(vector.shape, dtype=vector.dtype, pin_memory=True).copy_(vector)
    array: np.ndarray = vector.numpy()
    return array
