"""The PS's loop and a rank of workers in one process: config, messages, gradients and updates are real, MPI is not."""

import numpy as np
import pytest
import torch
from helpers import employ

from detox.aggregators import RULES, AggregatorError, create_hierarchy
from detox.aggregators.pairs import BASELINES, PAIRS
from detox.config import Config, ConfigError, check, secret_seed
from detox.ps.aggregation import Aggregation
from detox.ps.ledger import Ledger
from detox.ps.selftest import check_own_bits, probe
from detox.ps.server import Server
from detox.ps.weights import ENDINGS, WeightsError, write_weights
from detox.tasks import FlatModel, create_task
from detox.wire import digest_of
from detox.wire.memory import Network
from detox.worker.momentum import Momentum

RANK = 1  # hosts all workers


class Loop:
    """A run of `config`; `lies` maps Byzantine workers to what becomes of their vectors."""

    def __init__(self, config, folder, lies):
        self.config = config
        self.task = create_task(config.task, model=config.model)
        self.model = config.create_model(self.task)
        self.files = config.create_files(self.task)
        codec = config.compression.create(self.model.d, self.model.b)
        network = Network()
        self.wire = network.session(0, [RANK])
        ranks = [RANK] * config.p
        folder.mkdir()
        secret = secret_seed(config)
        scheme = config.create_scheme(secret)
        self.ledger = Ledger(folder / "ledger.jsonl", ranks, {})
        self.server = Server(
            self.wire,
            ranks,
            self.model,
            codec,
            files=self.files,
            scheme=scheme,
            create_ballot=config.create_ballot(self.model.d),
            aggregation=Aggregation(config.hierarchy, scheme, config.aggregator.f, secret),
            ledger=self.ledger,
            quarantine=config.create_quarantine(),
            q=config.q,
            on_tie=config.on_tie,
            deadline=config.transport.deadline,
            fetch_deadline=config.transport.fetch_deadline,
        )
        beta = config.worker_momentum
        self.momentum = Momentum(beta, self.model.d) if beta else None
        employ(
            network, RANK, self.model.d + self.model.b, self.task,
            FlatModel(self.task.build_model(), config.computing), codec,
            momentum=self.momentum,
            corrupt=lambda header, vector: lies[header.worker](vector) if header.worker in lies else vector,
            share_compute=config.share_compute,
        )  # fmt: skip

    def steps(self, first, last):
        return list(self.server.train(first, last))


@pytest.fixture
def loop(tmp_path):
    loops = []

    def _loop(lies=None, **fields):
        fields = {"model": "softmax", "p": 7, "r": 1, "batch_size": 8, "groups": "fixed", **fields}
        config = Config(**fields)
        check(config)
        loops.append(Loop(config, tmp_path / str(len(loops)), lies or {}))
        return loops[-1]

    yield _loop
    for one in loops:
        one.ledger.close()


def most(name, n):
    """The greatest f that the aggregator serves n votes with."""

    def serves(f):
        try:
            create_hierarchy(name).check(n, f)
        except AggregatorError:
            return False
        return True

    return max(f for f in range(n) if serves(f))


@pytest.mark.parametrize("name", [*RULES, *PAIRS, *BASELINES])
def test_every_aggregator_trains_against_two_bad_votes_or_as_many_as_it_tolerates(loop, name):
    n = 10 if name == "d-multi-krum" else 7
    f = 0 if name in BASELINES else min(2, most(name, n))
    lies = {worker: lambda vector: -20 * vector for worker in range(f)}
    run = loop(lies, p=n, q=f, aggregator={"name": name}, optimizer={"lr": 0.001 if "sign" in name else 0.1})
    before = run.model.evaluate()["loss"]
    records = run.steps(1, 12)
    assert not any(record.skipped for record in records)
    assert np.isfinite(run.model.weights).all()
    assert run.model.evaluate()["loss"] < before
    assert run.server.outcomes == {"unanimous": 12 * n}


def test_centered_clipping_starts_from_its_last_output(loop):
    run = loop(q=3, aggregator={"name": "centered_clipping"}, optimizer={"lr": 0.1})
    mirror = FlatModel(run.task.build_model())
    weights, previous = run.model.weights.copy(), None
    for step in (1, 2, 3):
        mirror.load(weights)
        rows = [
            mirror.compute(run.task, indices, run.files.file_seed(step, file))
            for file, indices in enumerate(run.files.draw(step))
        ]
        previous = RULES["centered_clipping"](np.stack(rows), f=3, previous=previous)
        weights = weights - np.float32(0.1) * previous
        run.steps(step, step)
        np.testing.assert_allclose(run.model.weights, weights, rtol=1e-5, atol=1e-7)


def test_the_last_output_of_centered_clipping_is_part_of_a_checkpoint(loop):
    whole, first, second, forgetful = (loop(q=3, aggregator={"name": "centered_clipping"}) for _ in range(4))
    whole.steps(1, 6)
    first.steps(1, 3)
    second.server.restore(first.server.state())
    second.steps(4, 6)
    assert second.model.digest == whole.model.digest
    forgetful.model.restore({**first.model.state(), "previous": None})
    forgetful.steps(4, 6)
    assert forgetful.model.digest != whole.model.digest


def test_rules_without_a_memory_keep_none(loop):
    run = loop(q=3, aggregator={"name": "geometric_median"})
    run.steps(1, 2)
    assert run.model.previous is None


def test_draco_is_the_mean_of_what_majorities_sent_whatever_two_of_five_send(loop):
    options = {"p": 15, "r": 5, "aggregator": {"name": "draco"}}
    honest = loop(**options)
    attacked = loop({0: lambda v: -v, 4: lambda v: v * np.nan, 5: lambda v: v + 1, 6: lambda v: v + 1}, q=2, **options)
    honest.steps(1, 4)
    attacked.steps(1, 4)
    assert attacked.model.digest == honest.model.digest
    assert attacked.ledger.dissents() == {0: 4, 4: 4, 5: 4, 6: 4}


SIGNS = {"kind": "sign", "codec": "none"}


@pytest.mark.parametrize("r", [1, 3])
def test_sign_sgd_moves_every_parameter_by_the_majority_of_the_workers_signs(loop, r):
    options = {"p": 9, "r": r, "aggregator": {"name": "sign_majority"}, "optimizer": {"lr": 0.01}}
    run = loop(compression=SIGNS, **options)
    mirror, before = FlatModel(run.task.build_model()), run.model.weights.copy()
    mirror.load(before)
    rows = [
        mirror.compute(run.task, indices, run.files.file_seed(1, file))
        for file, indices in enumerate(run.files.draw(1))
    ]
    signs = [[-1 if entry < 0 else 1 for entry in row] for row in np.stack(rows).T]
    expected = before - np.float32(0.01) * np.array([np.sign(sum(entry)) for entry in signs], np.float32)
    (record,) = run.steps(1, 1)
    np.testing.assert_allclose(run.model.weights, expected, atol=1e-7)
    claims, computed = 0 if r == 1 else 9 * (32 + 32), 9 * (32 + 16)
    assert record.bytes_in == computed + claims + 9 // r * (32 + -(-run.model.d // 8))


NORMED = """
from torch import nn

from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits


def build(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, classes))


class Normed(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), build, device)
"""


def test_rounded_gradients_are_voted_on_by_digest_and_in_full_to_the_same_bits(loop):
    options = {"p": 9, "r": 3, "aggregator": {"name": "mean"}}
    plain = loop(**options)
    digest, full = (loop(**options, compression={"kind": "bf16"}, vote=vote) for vote in ("digest", "full"))
    for run in (plain, digest, full):
        run.steps(1, 3)
        assert set(run.server.outcomes) == {"unanimous"}
    assert digest.model.digest == full.model.digest != plain.model.digest
    assert np.allclose(digest.model.weights, plain.model.weights, atol=1e-3)


def test_batch_norm_statistics_do_not_become_signs(loop, tmp_path, monkeypatch):
    (tmp_path / "normed.py").write_text(NORMED)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"task": "normed:Normed", "model": None, "aggregator": {"name": "sign_majority"}}
    signs, floats = loop(compression=SIGNS, **options), loop(**options)
    signs.steps(1, 1)
    floats.steps(1, 1)
    statistics = signs.model.weights[signs.model.d :].tolist()
    assert statistics == floats.model.weights[signs.model.d :].tolist()
    assert len(set(statistics)) > 50


COUNTING = """
import torch
from torch import nn

from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits


class Warming(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.tensor(2**40))
        self.register_buffer("warm", torch.tensor(False))
        self.unused = nn.Parameter(torch.ones(3))
        self.body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, momentum=None), nn.Linear(64, 10))

    def forward(self, x):
        if self.training:
            self.passes += 1
            self.warm |= self.passes > 2**40 + 2
        return self.body(x) * (1.0 if self.warm else 0.5)


class Counting(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), lambda shape, classes: Warming(), device)
"""


@pytest.mark.parametrize("vote", ["digest", "full", "tolerance"])
def test_counters_flags_and_unused_parameters_pass_the_vote_whatever_others_say(loop, tmp_path, monkeypatch, vote):
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    options = {
        "task": "counting:Counting", "model": None, "p": 9, "r": 3, "vote": vote,
        "aggregator": {"name": "median", "f": 1}, "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    }  # fmt: skip
    honest = loop(**options)
    # Workers 0 and 1 win the vote of their group, worker 4 is outvoted.
    lies = {0: lambda v: -7 * v, 1: lambda v: -7 * v, 4: lambda v: np.full_like(v, 1e30)}
    attacked = loop(lies, q=3, **options)
    for run in (honest, attacked):
        run.steps(1, 4)
        module = run.model.module
        assert module.passes == 2**40 + 4
        assert module.warm
        assert module.body[1].num_batches_tracked == 4
        assert module.unused.tolist() == [1, 1, 1]


def test_wrong_signs_are_outvoted_and_named_and_no_nan_gets_through(loop):
    options = {"p": 9, "r": 3, "aggregator": {"name": "d-signsgd"}, "compression": SIGNS, "optimizer": {"lr": 0.01}}
    honest, attacked = loop(**options), loop({0: lambda v: -v, 4: lambda v: v * np.nan}, **options)
    honest.steps(1, 5)
    attacked.steps(1, 5)
    assert attacked.model.digest == honest.model.digest
    assert attacked.ledger.dissents() == {0: 5, 4: 5}
    assert all(counts["nonfinite"] == 0 for counts in attacked.ledger.counts)


def test_a_tie_of_signs_is_settled_by_the_signs_that_the_ps_computes(loop):
    options = {"p": 9, "r": 3, "aggregator": {"name": "d-signsgd"}, "compression": SIGNS, "optimizer": {"lr": 0.01}}
    honest = loop(**options)
    attacked = loop({0: lambda v: -v, 1: lambda v: v + 1}, on_tie="recompute", **options)
    honest.steps(1, 3)
    attacked.steps(1, 3)
    assert attacked.model.digest == honest.model.digest
    assert [counts["convicted"] for counts in attacked.ledger.counts[:3]] == [3, 3, 0]


@pytest.mark.parametrize("r", [1, 3])
@pytest.mark.parametrize("share_compute", [False, True])
def test_momentum_at_the_workers_is_that_of_the_definition(loop, r, share_compute):
    run = loop(
        p=6, r=r, worker_momentum=0.75, share_compute=share_compute, aggregator={"name": "mean"}, optimizer={"lr": 0.1}
    )
    mirror, weights, momentum = FlatModel(run.task.build_model()), run.model.weights.copy(), 0.0
    for step in range(1, 5):
        mirror.load(weights)
        rows = [
            mirror.compute(run.task, indices, run.files.file_seed(step, file))
            for file, indices in enumerate(run.files.draw(step))
        ]
        # The mean of the workers' momenta is the momentum of the mean.
        momentum = 0.75 * momentum + 0.25 * np.mean(rows, axis=0)
        weights = weights - 0.1 * np.float32(momentum)
    run.steps(1, 4)
    np.testing.assert_allclose(run.model.weights, weights, rtol=1e-4, atol=1e-6)
    assert run.server.outcomes == {"unanimous": 4 * 6 // r}


def test_who_misses_a_step_has_another_momentum_and_dissents_from_then_on(loop):
    run = loop(p=6, r=3, worker_momentum=0.9, aggregator={"name": "mean"}, optimizer={"lr": 0.1})
    run.steps(1, 2)
    run.momentum.add(4, np.ones(run.model.d + run.model.b, np.float32))  # as of a step that the others never saw
    run.steps(3, 8)
    assert run.ledger.dissents() == {4: 6}


def test_the_self_test_leaves_no_trace_in_the_momentum(loop):
    probed, plain = (loop(worker_momentum=0.9, aggregator={"name": "mean"}) for _ in range(2))
    digests = probe(probed.wire, [RANK] * 7, probed.model, probed.files, 30)
    own = probed.model.compute(probed.files.draw(1)[0], probed.files.file_seed(1, 0))
    assert set(digests.values()) == {digest_of(own)}
    probed.steps(1, 3)
    plain.steps(1, 3)
    assert probed.model.digest == plain.model.digest


def test_the_self_test_compares_gradients_where_signs_travel(loop):
    run = loop(aggregator={"name": "sign_majority"}, compression=SIGNS)
    digests = probe(run.wire, [RANK] * 7, run.model, run.files, 30)
    check_own_bits(digests, list(range(1, 1 + len(digests))), run.model, run.files)


WATCHED = """
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits
from detox.tasks.models import softmax


class Watched(Classification):
    def __init__(self, *, device):
        super().__init__(load_digits(None), softmax, device)
        self.computed = []

    def loss(self, model, indices, generator):
        self.computed.append((generator.initial_seed(), set(self.train_labels[indices].tolist())))
        return super().loss(model, indices, generator)
"""


@pytest.mark.parametrize("groups", ["fixed", "redrawn"])
def test_split_by_label_a_file_keeps_its_few_labels_whichever_group_has_it(loop, groups, tmp_path, monkeypatch):
    (tmp_path / "watched.py").write_text(WATCHED)
    monkeypatch.syspath_prepend(tmp_path)
    options = {"task": "watched:Watched", "model": None, "data": {"split": "label"}, "aggregator": {"name": "mean"}}
    run = loop(p=10, groups=groups, **options)
    files = {run.files.file_seed(step, file): file for step in range(1, 6) for file in range(10)}
    seen = [set() for _ in range(10)]
    run.steps(1, 5)
    assert len(run.task.computed) == 5 * 10
    for seed, labels in run.task.computed:
        seen[files[seed]] |= labels
    assert all(1 <= len(labels) <= 3 for labels in seen)
    assert set().union(*seen) == set(range(10))


def test_a_run_starts_from_the_weights_of_a_file_and_goes_on_from_them(loop, tmp_path):
    first = loop(aggregator={"name": "mean"})
    first.steps(1, 3)
    write_weights(tmp_path / "given", first.model.named(), {})
    whole = first.model.digest
    for ending in ENDINGS:
        second = loop(aggregator={"name": "mean"}, init=str(tmp_path / f"given{ending}"), seed=7)
        assert second.model.digest == whole
        second.steps(1, 1)
        assert second.server.outcomes == {"unanimous": 7}
        assert second.model.digest != whole


def test_weights_of_another_model_are_told_in_words(loop, tmp_path):
    write_weights(tmp_path / "given", loop(model="mlp").model.named(), {})
    words = r"given\.pt is of another model: it has .*, which the model has not; has .*; to start from a part"
    with pytest.raises(ConfigError, match=words):
        loop(init=str(tmp_path / "given.pt"))
    (tmp_path / "given.pt").write_bytes(b"")
    with pytest.raises(WeightsError, match="is no file of weights"):
        loop(init=str(tmp_path / "given.pt"))


EXTRAS = {
    "p": 9, "r": 3, "steps": 8, "micro_batch_size": 5, "autocast": "bf16", "aggregator": {"name": "mean"},
    "optimizer": {"name": "AdamW", "lr": 0.01, "schedule": "cosine", "warmup": 3, "clip_norm": 0.5, "ema": 0.9},
}  # fmt: skip


def test_what_trainers_have_is_resumed_to_the_same_bits_and_groups_agree(loop):
    whole, first, second = (loop(**EXTRAS) for _ in range(3))
    whole.steps(1, 8)
    first.steps(1, 5)
    second.server.restore(first.server.state())
    second.steps(6, 8)
    assert second.model.digest == whole.model.digest
    assert second.model.evaluate() == whole.model.evaluate()
    assert all(torch.equal(tensor, whole.model.named()[name]) for name, tensor in second.model.named().items())
    assert whole.server.outcomes == {"unanimous": 24}
    plain = loop(**EXTRAS | {"micro_batch_size": None, "autocast": "none"})
    plain.steps(1, 8)
    assert plain.model.digest != whole.model.digest


def test_the_ps_computes_a_file_in_the_same_pieces_and_precision_as_its_workers(loop):
    honest = loop(**EXTRAS)
    attacked = loop({0: lambda v: -v, 1: lambda v: v + 1}, on_tie="recompute", groups="fixed", **EXTRAS)
    honest.steps(1, 3)
    attacked.steps(1, 3)
    assert attacked.model.digest == honest.model.digest
    assert [counts["convicted"] for counts in attacked.ledger.counts[:3]] == [3, 3, 0]
