"""What votes say of parameters without a gradient, and of counters and flags beside the gradient."""

import numpy as np
import pytest
import torch
from sound import Sound, holding, steps

from detox.ps.model import GlobalModel


def test_counters_are_part_of_a_checkpoint():
    first, second = (GlobalModel(Sound(), seed=seed, steps=9) for seed in (0, 1))
    assert list(steps(first, 4)) == [1, 2, 3, 4]
    second.restore(first.state())
    assert second.module[1].num_batches_tracked == 4
    assert list(steps(first, 2)) == list(steps(second, 2))
    assert second.digest == first.digest
    assert second.module[1].num_batches_tracked == 6


def test_a_parameter_has_no_gradient_where_more_than_all_but_f_votes_say_so():
    model = GlobalModel(Sound(), seed=0, steps=9)
    none, some = np.full(model.d + model.b, -0.0, np.float32), np.zeros(model.d + model.b, np.float32)
    everyone = [0, 1, 2, 3, 4, 5]
    partly = none.copy()
    partly[5] = 0.0
    assert model.without_gradient(np.stack([none, none, none]), 0) == everyone
    assert model.without_gradient(np.stack([none, some, none]), 0) == []
    assert model.without_gradient(np.stack([none, some, none]), 1) == everyone
    assert model.without_gradient(np.stack([none, some, some]), 1) == []
    assert model.without_gradient(np.stack([none, partly]), 0) == everyone[1:]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "int64", "float32"])
def test_exact_buffers_agree_on_a_value_among_the_honest_ones_whatever_others_say(dtype):
    rng = np.random.default_rng(3)
    votes = (rng.normal(size=(7, 5)) * 100).clip(-120, 120).astype(dtype)
    if dtype == "float32":
        votes[:, 0] = np.inf

    class Holding(Sound):
        def __init__(self, vote):
            super().__init__()
            self.vote = vote

        def build_model(self):
            module = holding(torch.from_numpy(self.vote.copy()))
            module.register_buffer("odd", torch.tensor([1, 0, 1], dtype=torch.int16))
            return module

    models = [GlobalModel(Holding(vote), seed=0, steps=9) for vote in votes]
    model, rows = models[0], [model.weights[model.d :].copy() for model in models]
    held = model.module.held
    for sent in (1e30, -1e30, 12345.5):
        rows[2] = rows[5] = np.full(model.b, sent, np.float32)
        model.apply(np.zeros(model.d, np.float32), model.agree(np.stack(rows), 2))
        honest = np.sort(votes[[0, 1, 3, 4, 6]], axis=0)
        assert (honest[0] <= held.numpy()).all()
        assert (held.numpy() <= honest[-1]).all()
        assert model.module.odd.tolist() == [1, 0, 1]
