"""The baselines that are simulated: Aspis' attack and detectors, and cyclic codes."""

import json
from itertools import combinations
from math import comb

import numpy as np
import pytest

from detox.worker.placement import Placement


@pytest.fixture
def aspis(script):
    return script("benchmarks.aspis")


@pytest.fixture
def cyclic(script):
    return script("benchmarks.cyclic")


@pytest.mark.parametrize(("p", "q"), [(9, 2), (10, 3)])
def test_aspis_best_attack_wins_half_the_files_of_its_2q_workers_for_ever(aspis, p, q):
    found = aspis.run(p, q, 3, "Aspis", "the 2q, always the same", seed=1, longest=4)
    assert found.named is None
    assert found.damage == pytest.approx(4 * comb(2 * q, 3) / 2 / comb(p, 3))


def test_who_always_lies_is_named_at_once_and_nobody_else(aspis):
    for defence in aspis.DEFENCES:
        found = aspis.run(15, 3, 3, defence, "always", seed=2, longest=40)
        assert found.named is not None
        assert found.named <= 5
        assert found.honest == 0


def test_of_all_cliques_the_largest_counts_and_two_of_one_size_say_nothing(aspis):
    workers = range(7)
    edges = {(0, w) for w in range(2, 7)} | {(1, w) for w in range(2, 7)}
    assert aspis.largest_clique([edges], workers, 2) == {0, 1}
    assert aspis.largest_clique([{(0, 2), (0, 3), (1, 2), (1, 3)}], workers, 2) == set()
    assert aspis.largest_clique([set()], workers, 2) == set()


@pytest.mark.parametrize(("create", "held"), [("gradient_code", 3), ("draco_code", 5)])
def test_any_workers_but_s_decode_a_cyclic_code(cyclic, create, held):
    n, s, rng = 9, 2, np.random.default_rng(3)
    code = getattr(cyclic, create)(n, s, rng)
    for i in range(n):
        outside = [j for j in range(n) if (j - i) % n >= held]
        assert np.allclose(code[i, outside], 0)
    gradients = rng.standard_normal((n, 4)).astype(np.float32)
    for missing in combinations(range(n), s):
        left = np.setdiff1d(np.arange(n), missing)
        gain, error = cyclic.decoded(code, left, gradients)
        weights = np.linalg.lstsq(code[left].T, np.ones(n), rcond=None)[0]
        assert np.allclose(weights @ code[left] @ gradients, gradients.sum(0))
        assert error < 1e-5 * gain


@pytest.mark.parametrize(
    ("defence", "groups"),
    [("ours, `steiner`", ("--groups", "steiner", "--groups-redrawn")), ("ours", ("--groups", "redrawn"))],
)
@pytest.mark.parametrize(
    ("attack", "when"), [("the 2q, always the same", "framing"), ("where they win", "majority"), ("always", "always")]
)
def test_a_run_names_the_liars_in_the_step_in_which_the_simulation_does(aspis, here, defence, groups, attack, when):
    steps = 15
    found = aspis.run(15, 3, 3, defence, attack, 4, steps, Placement("fixed", 15, 3, 1))
    lies = ("--attack.kind", "sign_flip", "--attack.placement", "fixed", "--attack.seed", "1", "--attack.when", when)
    secret = ("--secret-seed", "4", "--attack.knowledge", "omniscient", "--steps", str(steps), "--eval-every", "15")
    job = here.start("--p", "15", "--q", "3", *groups, *lies, *secret, n=2)
    assert job.status == 0, job.text
    lines = [json.loads(line) for line in (job.run / "ledger.jsonl").read_text().splitlines()]
    out = sorted(line["step"] for line in lines if line["kind"] == "quarantined")
    # They can win no vote when two of three are out; a run waits for the claims that are late by a step.
    assert (out[1] - 2 if len(out) > 1 else None) == found.named
