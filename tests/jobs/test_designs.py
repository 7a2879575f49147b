"""Whole runs in which a worker holds several files: Latin squares, Ramanujan graphs, Steiner systems."""

import json

import pytest

from detox.assignment import SCHEMES
from detox.worker.placement import Placement

STEPS = 8
SHORT = ("--steps", str(STEPS), "--eval-every", str(STEPS))
NEVER = (*SHORT, "--quarantine.policy", "never", "--attack.placement", "optimal")


def ledger(job, kind):
    lines = map(json.loads, (job.run / "ledger.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize(
    ("name", "p", "q", "bad"), [("mols", 9, 2, 1), ("steiner", 9, 3, 3), ("ramanujan", 9, 2, 1), ("steiner", 15, 4, 6)]
)
def test_those_who_know_a_design_spoil_the_worst_case_in_each_step(here, name, p, q, bad):
    job = here.start(*NEVER, "--groups", name, "--p", str(p), "--q", str(q), "--attack.kind", "zero")
    assert job.status == 0, job.text
    scheme = SCHEMES[name](p, 3)
    files, byzantine = scheme.files(p, 3), set(scheme.worst(q).workers)
    spoiled = [block for block in scheme.blocks if len(byzantine.intersection(block)) >= 2]
    assert len(spoiled) == bad == scheme.worst_case(q, files)
    dissents = [(line["step"], line["worker"]) for line in ledger(job, "dissented") if line["worker"] not in byzantine]
    outvoted = [worker for block in spoiled for worker in set(block) - byzantine]
    assert sorted(dissents) == sorted((step, worker) for step in range(1, STEPS + 1) for worker in outvoted)
    assert sum(job.summary["votes"].values()) == STEPS * files
    assert f"spoil at most {bad} of {files} files (by search)" in job.text


def test_places_that_are_drawn_in_secret_change_no_bit_where_nobody_lies(here):
    options = (*SHORT, "--groups", "steiner", "--q", "0", "--secret-seed", "5", "--p", "15")
    public, secret = here.run(*options), here.run(*options, "--groups-redrawn")
    assert public["weights_digest"] == secret["weights_digest"]
    assert public["votes"]["unanimous"] == secret["votes"]["unanimous"] == STEPS * 35


@pytest.mark.parametrize(("kind", "when"), [("alie", "always"), ("alie", "majority"), ("mimic", "always")])
def test_colluders_hear_of_all_their_files_whatever_the_number_of_ranks(here, kind, when):
    options = (*NEVER, "--groups", "mols", "--q", "3", "--attack.kind", kind, "--attack.when", when)
    few, many = here.run(*options, n=2), here.run(*options, n=5)
    assert few["weights_digest"] == many["weights_digest"]
    assert few["votes"] == many["votes"]
    if when == "majority":  # they lie about the files that they win, and nowhere else
        assert few["votes"] == {"unanimous": STEPS * 6, "majority": STEPS * 3, "none": 0, "recomputed": 0}


@pytest.mark.parametrize("redrawn", [False, True])
def test_who_must_have_lied_is_out_and_few_files_go_with_it(here, redrawn):
    secret = ("--groups-redrawn", "--secret-seed", "3") if redrawn else ()
    options = (*SHORT, "--groups", "steiner", "--p", "15", "--q", "3", "--attack.kind", "constant", *secret)
    job = here.start(*options, "--attack.placement", "fixed", n=4)
    assert job.status == 0, job.text
    out = {line["worker"] for line in ledger(job, "quarantined")}
    assert out == {line["worker"] for line in ledger(job, "proven")}
    assert len(out) == 3
    left = SCHEMES["steiner"](15, 3).draw(1, sorted(set(range(15)) - out)).holders
    assert len(left) in (32, 34)  # three pairs of the three are of one file, or of three
    assert redrawn or f"12 workers are left with {len(left)} files; now q = 0 and f = 0" in job.text
    assert job.summary["votes"]["none"] == 0


def test_those_who_frame_honest_workers_are_as_many_as_these_and_nobody_is_named(here):
    """Aspis' best attack on a design that does not change: who is Byzantine, the graph cannot tell."""
    options = (*SHORT, "--groups", "steiner", "--p", "15", "--q", "3", "--attack.kind", "sign_flip")
    framing = ("--attack.placement", "fixed", "--attack.when", "framing", "--attack.knowledge", "omniscient")
    job = here.start(*options, *framing, "--attack.seed", "1", n=4)
    assert job.status == 0, job.text
    placement = Placement("fixed", 15, 3, 1)
    byzantine, inside = placement.byzantine(1), placement.byzantine(1) | placement.framed(1)
    files = [set(block) for block in SCHEMES["steiner"](15, 3).blocks if inside.issuperset(block)]
    assert sorted(len(file & byzantine) for file in files) == [1, 2]
    outvoted = [worker for file in files for worker in file - byzantine if len(file & byzantine) == 2]
    dissents = [(line["step"], line["worker"]) for line in ledger(job, "dissented") if line["worker"] not in byzantine]
    assert sorted(dissents) == sorted((step, worker) for step in range(1, STEPS + 1) for worker in outvoted)
    assert ledger(job, "quarantined") == []


def test_framing_takes_those_who_know_all_gradients(here):
    job = here.start("--attack.when", "framing")
    assert job.status == 2
    assert 'attack.when = "framing"' in job.text
    assert 'set attack.knowledge = "omniscient"' in " ".join(job.text.split())
