"""Faults of messages and of workers, in whole runs: no bit of the weights changes, and the ledger says who."""

import pytest
from faults import CONTENTS, HEADERS, RANKS, check_ledger, faults, options_of

from detox.worker.faults import FAULTS
from detox.worker.relay_faults import RELAYS


def test_every_fault_has_a_test():
    kinds = [*HEADERS, *CONTENTS, *(kind for kinds in RANKS for kind in kinds), *RELAYS]  # these in test_relay.py
    assert sorted(kinds) == sorted(FAULTS)


@pytest.fixture(scope="module")
def right(here):
    """The weights' digest where all contents are right, by how many copies are asked for at once."""
    honest, _ = options_of(CONTENTS)
    return {copies: here.run(*honest, "--copies", copies, n=2)["weights_digest"] for copies in ("all", "lazy")}


def test_wrong_contents_change_no_bit_and_are_in_the_ledger(here, right):
    honest, faulty = options_of(CONTENTS)
    summary = here.run(*honest, *faulty, n=4)
    assert summary["weights_digest"] == right["all"]
    check_ledger(summary, CONTENTS)


def test_a_tie_is_settled_by_the_ps(here):
    honest = ("--q", "0", "--groups", "fixed", "--steps", "120")
    faulty = ("--on-tie", "recompute", *faults((0, 1), ["nan", "bit_flip"]), "--fault.last", "40")
    summary = here.run(*honest, *faulty, n=2)
    assert summary["weights_digest"] == here.run(*honest, n=2)["weights_digest"]
    assert [counts.get("convicted", 0) for counts in summary["ledger"]] == [39, 39, 0, 0, 0, 0, 0, 0, 0]
    assert summary["votes"] == {"unanimous": 321, "majority": 0, "none": 0, "recomputed": 39}


def test_a_processor_that_fails_now_and_then_changes_no_bit_and_dissents_as_often(here):
    honest = ("--q", "0", "--groups", "fixed", "--steps", "60")
    rate = ("--fault.mean-steps", "4", "--fault.repeatable")
    summary = here.run(*honest, *faults((4,), ["sdc"]), *rate, n=2)
    assert summary["weights_digest"] == here.run(*honest, n=2)["weights_digest"]
    dissents = summary["ledger"][4]["dissented"]
    assert abs(dissents - 59 / 4) < 4 * (59 * 3 / 16) ** 0.5
    assert summary["ledger"][4]["agreed"] == 60 - dissents
    assert all(counts == {"agreed": 60} for worker, counts in enumerate(summary["ledger"]) if worker != 4)


def test_a_worker_with_a_broken_memory_ends_in_quarantine_and_nobody_else(here):
    options = ("--q", "1", "--attack.kind", "constant", "--attack.placement", "fixed", "--groups", "redrawn")
    job = here.start(*options, "--steps", "60", "--quarantine.policy", "recompute", "--aggregator.name", "mean")
    assert job.status == 0, job.text
    summary = job.summary
    (convicted,) = (worker for worker, counts in enumerate(summary["ledger"]) if counts.get("convicted"))
    assert list(summary["quarantined"]) == [str(convicted)]
    assert f"worker {convicted} on" in job.text
    assert "8 workers are left in 2 groups; now q = 0 and f = 0" in job.text


MODES = {
    "lazy": ("--copies", "lazy"),
    "lazy, audited": ("--copies", "lazy", "--audit.ps", "1"),
    "audited in spare time": ("--audit.ps", "auto"),
    "full": ("--vote", "full"),
}
WRONG = ("bit_flip", "nan", "inf", "nullify", "stripe")  # vectors that are not the file's


@pytest.mark.parametrize("mode", MODES)
def test_wrong_contents_change_no_bit_and_no_honest_worker_is_blamed(here, right, mode):
    faulty = [3 * place for place in range(len(CONTENTS))]  # one of three neighbours, who share a file
    summary = here.run(*options_of(CONTENTS)[0], *MODES[mode], *faults(faulty, CONTENTS), n=4)
    assert summary["weights_digest"] == right["lazy" if "lazy" in MODES[mode] else "all"]
    assert summary["votes"]["none"] == summary["skipped_steps"] == 0
    for worker, counts in enumerate(summary["ledger"]):
        assert worker in faulty or counts.keys() <= {"agreed"}, (worker, counts)
    for kind in WRONG:
        counts = summary["ledger"][faulty[list(CONTENTS).index(kind)]]
        assert counts.get("dissented", 0) + counts.get("convicted", 0) > 0, (kind, counts)


def test_auditors_find_wrong_contents_and_blame_no_honest_worker(here):
    options = ("--q", "0", "--p", "45", "--groups", "redrawn", "--r", "1", "--audit.workers", "15", "--steps", "30")
    faulty = [3 * place for place in range(len(CONTENTS))]
    summary = here.run(*options, *faults(faulty, CONTENTS), n=4)
    assert summary["skipped_steps"] == 0
    for worker, counts in enumerate(summary["ledger"]):
        # Who audits whom is redrawn: of three, two may be faulty ones, so that no two agree.
        assert worker in faulty or counts.keys() <= {"agreed", "undecided"}, (worker, counts)
    for kind in WRONG:
        assert summary["ledger"][faulty[list(CONTENTS).index(kind)]].get("dissented", 0) > 0, kind


@pytest.mark.parametrize("mode", ["lazy", "lazy, audited", "full"])
def test_however_copies_are_asked_for_a_resumed_run_is_the_one_that_was_not_stopped(here, mode):
    options = ("--q", "1", "--groups", "redrawn", "--secret-seed", "5", "--p", "12", "--steps", "24")
    options += ("--checkpoint-every", "6", "--aggregator.f", "1", "--attack.kind", "reversed")
    options += ("--attack.placement", "fixed", *MODES[mode])
    whole = here.run(*options)
    part = here.start(*options, after=0.006)
    assert part.status == 3, part.text
    again = here.start(*options, folder=part.folder)
    assert again.status == 0, again.text
    assert again.summary["weights_digest"] == whole["weights_digest"]
    assert again.summary["quarantined"] == whole["quarantined"] != {}
    assert "resumed after step" in again.text
