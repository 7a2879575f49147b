"""Every fault that can be injected, in real jobs: the run goes on, its weights are right, the ledger says who."""

import json
import time

import pytest

from detox.worker.faults import FAULTS

# Each in a group of its own, with two honest fellows.
MESSAGES = {
    "silent": {"silent"}, "late": {"silent"}, "magic": {"silent"}, "version": {"silent"}, "checksum": {"silent"},
    "length": {"silent"}, "garbage": {"silent"}, "truncated": {"silent"}, "overlong": {"silent"},
    "rank": {"silent"}, "kind": {"silent"}, "step": {"silent", "malformed"}, "file": {"silent", "malformed"},
    "duplicate": {"agreed", "malformed"}, "equivocate": {"agreed", "equivocated"}, "lie": {"agreed", "lied"},
    "bomb": {"agreed", "malformed", "withheld"}, "withhold": {"agreed", "withheld"},
    "bit_flip": {"dissented"}, "nan": {"dissented"}, "inf": {"dissented"},
}  # fmt: skip
RANKS = [("kill", "segfault", "stop"), ("exit", "exception", "straggle"), ("abort", "flood_small", "flood_large")]


def _faults(workers, kinds):
    return ["--fault.worker", *map(str, workers), "--fault.kind", *kinds]


def test_every_fault_has_a_test():
    assert sorted([*MESSAGES, *(kind for kinds in RANKS for kind in kinds)]) == sorted(FAULTS)


@pytest.fixture(scope="module")
def honest(jobs_of_session):
    """The weights without faults, of 45 workers and of nine."""
    wide = jobs_of_session.run("--q", "0", "--p", "45", n=2)
    return {45: wide["weights_digest"], 9: jobs_of_session.run("--q", "0", "--steps", "120", n=2)["weights_digest"]}


@pytest.mark.parametrize("kinds", [list(MESSAGES)[:11], list(MESSAGES)[11:]], ids=["header", "content"])
def test_messages_with_a_fault_change_no_bit_and_are_in_the_ledger(jobs, honest, kinds):
    workers = [3 * place for place in range(len(kinds))]
    # Rank 1 has the first fifteen workers; the fault "rank" speaks for one of rank 2.
    options = ("--q", "0", "--p", "45", "--groups", "fixed", "--transport.deadline", "20")
    job = jobs.start(*options, "--transport.fetch-deadline", "4", *_faults(workers, kinds), n=4)
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    assert summary["weights_digest"] == honest[45], job.text
    assert summary["skipped_steps"] == 0
    assert summary["votes"]["none"] == 0
    for worker, kind in zip(workers, kinds, strict=True):
        counts = summary["ledger"][worker]
        assert counts.keys() - {"agreed", "late"} == MESSAGES[kind] - {"agreed"}, (kind, counts)
        assert counts["agreed"] == (20 if "agreed" in MESSAGES[kind] else 1), (kind, counts)
    for worker, counts in enumerate(summary["ledger"]):
        assert worker in workers or counts == {"agreed": 20}, (worker, counts)
    ledger = [
        json.loads(line) for path in job.folder.glob("runs/*/ledger.jsonl") for line in path.read_text().splitlines()
    ]
    unattributed = " ".join(line.get("detail", "") for line in ledger if line["worker"] is None)
    words = ["wrong magic", "of the protocol", "checksum", "bytes of payload", "nothing so long", "not on this rank"]
    # Only the first few lines of a rank in a step are written.
    assert sum(word in unattributed for word in words) >= (4 if "magic" in kinds else 0)


@pytest.mark.parametrize("kinds", RANKS, ids=lambda kinds: "-".join(kinds))
def test_a_rank_that_breaks_down_changes_no_bit_and_stops_nothing(jobs, honest, kinds):
    options = ("--q", "0", "--groups", "fixed", "--workers-per-rank", "1", "--transport.deadline", "20")
    more = ("--steps", "120", "--fault.first", "100", "--fault.every", "1000", "--fault.seconds", "3")
    job = jobs.start(*options, *more, *_faults((0, 3, 6), kinds), n=10)
    job.wait_for("step  20")
    ps, memory = job.pid_of_rank(0), []
    while job.process.poll() is None:
        memory.append(job.memory_of(ps))
        time.sleep(0.02)
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    assert summary["weights_digest"] == honest[9], job.text
    assert summary["skipped_steps"] == 0
    assert summary["votes"]["none"] == 0
    for worker, kind in zip((0, 3, 6), kinds, strict=True):
        counts = summary["ledger"][worker]
        assert counts.get("dead", 0) == (kind in ("kill", "segfault", "exit", "exception", "abort")), (kind, counts)
        assert counts["agreed"] >= 99, (kind, counts)
    assert [counts for worker, counts in enumerate(summary["ledger"]) if worker % 3] == [{"agreed": 120}] * 6
    memory = [size for size in memory if size]
    assert max(memory) - memory[0] < 64e6
    assert not job.processes()


def test_a_tie_is_settled_by_the_ps_in_a_real_job_too(jobs, honest):
    options = (
        "--q",
        "0",
        "--groups",
        "fixed",
        "--steps",
        "120",
        "--on-tie",
        "recompute",
        *_faults((0, 1), ["nan", "bit_flip"]),
    )
    summary = jobs.run(*options, "--fault.last", "40", n=2)
    assert summary["weights_digest"] == honest[9]
    assert [counts.get("convicted", 0) for counts in summary["ledger"]] == [39, 39, 0, 0, 0, 0, 0, 0, 0]
    assert summary["votes"] == {"unanimous": 321, "majority": 0, "none": 0, "recomputed": 39}


def test_a_worker_with_a_broken_memory_ends_in_quarantine_and_nobody_else(jobs):
    options = ("--q", "1", "--attack.kind", "constant", "--attack.placement", "fixed", "--groups", "redrawn")
    job = jobs.start(*options, "--steps", "60", "--quarantine.policy", "recompute", "--aggregator.name", "mean")
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    (liar,) = (worker for worker, counts in enumerate(summary["ledger"]) if counts.get("convicted"))
    assert list(summary["quarantined"]) == [str(liar)]
    assert f"worker {liar} on" in job.text
    assert "8 workers are left in 2 groups; now q = 0 and f = 0" in job.text
