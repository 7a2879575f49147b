"""Ranks that break down, and messages that MPI has to bring or to keep away: the run goes on, its weights are right."""

import json
import time

import pytest
from faults import HEADERS, RANKS, check_ledger, faults, options_of


def test_messages_with_a_wrong_header_change_no_bit_and_are_in_the_ledger(jobs, here):
    honest, faulty = options_of(HEADERS)
    job = jobs.start(*honest, *faulty, n=3)  # the fault "rank" speaks for a worker of another rank
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    assert summary["weights_digest"] == here.run(*honest, n=2)["weights_digest"], job.text
    check_ledger(summary, HEADERS)
    (ledger,) = job.folder.glob("runs/*/ledger.jsonl")
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    unattributed = " ".join(line.get("detail", "") for line in lines if line["worker"] is None)
    words = ["wrong magic", "of the protocol", "checksum", "bytes of payload", "nothing so long", "not on this rank"]
    # Only the first few lines of a rank in a step are written.
    assert sum(word in unattributed for word in words) >= 4


# Six ranks of workers have two, two, one, and again: in each group one is alone on its rank.
OPTIONS = ("--q", "0", "--groups", "fixed", "--steps", "120", "--transport.deadline", "20")
OPTIONS += ("--transport.fetch-deadline", "20")  # which was the default, and is long enough for a flood


@pytest.fixture(scope="module")
def whole(here):
    """The weights' digest of a run in which no rank breaks down."""
    return here.run(*OPTIONS, n=2)["weights_digest"]


@pytest.mark.parametrize("kinds", RANKS, ids=lambda kinds: "-".join(kinds))
def test_a_rank_that_breaks_down_changes_no_bit_and_stops_nothing(jobs, whole, kinds):
    faulty, when = (2, 5, 8), ("--fault.first", "100", "--fault.every", "1000", "--fault.seconds", "3")
    when += ("--checkpoint-every", "10")  # what that takes is no growth of the PS's memory then
    job = jobs.start(*OPTIONS, *when, *faults(faulty, kinds), n=7)
    job.wait_for("step  20")
    ps, memory = job.pid_of_rank(0), []
    while job.process.poll() is None:
        memory.append(job.memory_of(ps))
        time.sleep(0.02)
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    assert summary["weights_digest"] == whole, job.text
    assert summary["skipped_steps"] == 0
    assert summary["votes"]["none"] == 0
    assert summary["dissents"] == {}
    for worker, kind in zip(faulty, kinds, strict=True):
        counts = summary["ledger"][worker]
        assert counts.get("dead", 0) == (kind in ("kill", "segfault", "exit", "exception", "abort")), (kind, counts)
        assert counts["agreed"] > 60, (kind, counts)  # on a busy machine a few answers before the fault come too late
    assert [summary["ledger"][worker] for worker in (0, 1, 3, 4, 6, 7)] == [{"agreed": 120}] * 6
    memory = [size for size in memory if size]
    assert max(memory) - memory[0] < 64e6
    assert not job.processes()
