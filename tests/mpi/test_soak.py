"""Everything at once, for long: minutes, so left out unless asked for with `-m slow`."""

import time

import pytest

from detox.worker.faults import FAULTS
from detox.worker.relay_faults import RELAYS

STEPS = 500
BREAKDOWNS = ["kill", "segfault", "exit", "exception", "abort", "stop", "straggle", "flood_small", "flood_large"]


@pytest.mark.slow
@pytest.mark.parametrize("copies", ["all", "lazy"])
def test_45_workers_with_every_fault_at_once_learn_bit_for_bit_what_honest_ones_do(jobs, copies):
    # Fifteen ranks of three workers. One worker each of nine ranks breaks down, and so all three on it; of the other
    # six ranks all workers send what they should not. Nobody is left without a fault or a faulty neighbour.
    options = [
        "--p",
        "45",
        "--steps",
        str(STEPS),
        "--workers-per-rank",
        "3",
        "--groups",
        "redrawn",
        "--secret-seed",
        "7",
    ]
    options += ["--checkpoint-every", "100", "--copies", copies]
    honest = jobs.run(*options, "--q", "0", n=16)
    kinds = [kind for kind in FAULTS if kind not in {*BREAKDOWNS, *RELAYS}]
    workers = [*range(0, 27, 3), *range(27, 45), 16, 17, 19, 20, 22, 23, 25]
    faults = ["--fault.worker", *map(str, workers), "--fault.kind", *BREAKDOWNS, *kinds]
    faults += ["--fault.first", "20", "--fault.every", "7", "--fault.seconds", "1"]
    survival = ["--on-tie", "recompute", "--transport.deadline", "4", "--transport.fetch-deadline", "1"]
    job = jobs.start(*options, "--q", "0", *faults, *survival, n=16)
    job.wait_for("step  60")  # everything has happened once
    ps, memory = job.pid_of_rank(0), []
    while job.process.poll() is None:
        memory.append(job.memory_of(ps))
        time.sleep(0.05)
    assert job.wait() == 0, job.text
    summary = jobs.summary(job)
    assert summary["weights_digest"] == honest["weights_digest"], job.text
    assert summary["skipped_steps"] == 0
    convicted = {worker for worker, counts in enumerate(summary["ledger"]) if counts.get("convicted")}
    assert convicted <= set(workers)
    assert sum("dead" in counts for counts in summary["ledger"]) == 15
    memory = [size for size in memory if size]
    assert max(memory) - memory[0] < 64e6
    assert not job.processes()
