"""Which GPU is whose; what a GPU computes is tested where there is one, see benchmarks/gpu.sh."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detox.tasks import TaskError, create_task
from detox.tasks.devices import LOCAL_RANK, choose_gpu, find_device, host_rows, to_host

OPEN_MPI, HYDRA, SLURM = LOCAL_RANK


@given(st.sampled_from(LOCAL_RANK), st.integers(0, 200), st.integers(1, 16))
def test_the_ranks_of_a_host_take_turns_on_its_gpus(name, rank, count):
    assert choose_gpu({name: str(rank)}, count) == rank % count


@pytest.mark.parametrize(
    ("environment", "gpu"),
    [
        ({SLURM: "0", OPEN_MPI: "3"}, 3),  # mpirun in a job of Slurm's: all its ranks have the script's SLURM_LOCALID
        ({SLURM: "0", HYDRA: "2"}, 2),
        ({SLURM: "1"}, 1),
        ({OPEN_MPI: "", SLURM: "2"}, 2),
    ],
)
def test_what_started_the_rank_itself_says_which_of_its_host_it_is(environment, gpu):
    assert choose_gpu(environment, 4) == gpu


def test_one_gpu_is_everybodys_and_of_several_none_is_guessed():
    assert choose_gpu({}, 1) == 0
    with pytest.raises(TaskError, match=r"which of 4 GPUs is this rank's is not known, .*OMPI_COMM_WORLD_LOCAL_RANK"):
        choose_gpu({}, 4)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
@pytest.mark.parametrize(
    ("built", "words"),
    [
        (False, r"torch \S+ here is built without CUDA: install a build with it on every host; device = cpu"),
        (True, r"torch sees no GPU here \(CUDA_VISIBLE_DEVICES = '-1'\): .* nvidia-smi show it; device = cpu computes"),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_what_to_do(name, built, words, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: built)
    with pytest.raises(TaskError, match=f"device = {name}, but {words}"):
        create_task("digits", device=name)


@pytest.mark.parametrize("name", ["cpu:1", "cuda:", "cuda:x", "cuda:-1", "mps", ""])
def test_a_device_has_one_of_three_forms(name):
    with pytest.raises(TaskError, match=r"unknown device .*; known: cpu, cuda, cuda:N"):
        find_device(name)


def test_on_the_cpu_nothing_is_copied():
    vector = torch.arange(4.0)
    array = to_host(vector)
    vector[0] = 7
    assert array.tolist() == [7, 1, 2, 3]
    rows = host_rows(2, 3, torch.device("cpu"))
    assert (rows.shape, rows.dtype, rows.flags.writeable) == ((2, 3), np.float32, True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_is_found_and_vectors_travel_whole():
    device = find_device("cuda:0")
    assert (device.type, torch.cuda.current_device()) == ("cuda", 0)
    rows = host_rows(3, 1000, device)
    assert torch.from_numpy(rows).is_pinned()
    rows[:] = np.random.default_rng(0).normal(size=rows.shape)
    array = to_host(torch.from_numpy(rows).to(device)[1])
    assert array.tobytes() == rows[1].tobytes()
    assert torch.from_numpy(array).is_pinned()
