import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detox.tasks.packing import Packing

CPU = torch.device("cpu")


@given(st.lists(st.integers(0, 9), max_size=6), st.sampled_from([4, 16, 512]), st.data())
def test_tensors_are_read_and_written_as_one_vector(sizes, alignment, data):
    packing = Packing(sizes, CPU, alignment)
    plain = np.zeros(sum(sizes), np.float32)
    boundaries = [sum(sizes[:index]) for index in range(len(sizes) + 1)]
    for value in range(1, 4):
        begin = data.draw(st.sampled_from(boundaries))
        values = torch.arange(sum(sizes) - begin, dtype=torch.float32) + 100 * value
        packing.write(values, begin)
        plain[begin:] = values
        assert packing.vector.tolist() == plain.tolist()
    for part, begin, size in zip(packing.parts, boundaries, sizes, strict=False):
        assert part.tolist() == plain[begin : begin + size].tolist()
        part.add_(1)
    assert packing.vector.tolist() == (plain + 1).tolist()
    packing.zero()
    assert not packing.vector.any()


@given(st.lists(st.integers(0, 300), min_size=1, max_size=5))
def test_each_tensor_begins_at_a_multiple_of_the_alignment(sizes):
    parts = Packing(sizes, CPU, 512).parts
    filled = [part for part in parts if len(part)]
    assert all((part.data_ptr() - filled[0].data_ptr()) % 512 == 0 for part in filled)


def test_on_a_cpu_the_tensors_lie_one_behind_the_other():
    packing = Packing([3, 1, 5], CPU)
    assert packing.vector.data_ptr() == packing.parts[0].data_ptr()
    assert len(packing.vector) == 9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_each_tensor_begins_where_one_of_its_own_would():
    packing = Packing([3, 1, 5], torch.device("cuda"))
    packing.write(torch.arange(9.0))
    assert [part.data_ptr() % 512 for part in packing.parts] == [0, 0, 0]
    assert packing.vector.tolist() == list(range(9))
