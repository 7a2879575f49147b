"""Workers that come and go while the steps go on: who is away is left out, and another machine takes its place."""

import numpy as np
import pytest
from loopback import train

from detox.config import Config
from detox.config.adversary import create_placement
from detox.config.threats import AttackConfig
from detox.wire import keys

P = 12
OPTIONS = ("--p", "12", "--q", "0", "--groups", "redrawn", "--transport.absence", "0.01")


def at(moments):
    """Does things once the network is at a step: step -> what is done with the network."""

    def prepare(network):
        left = sorted(moments.items())

        def act():
            while left and network.step >= left[0][0]:
                left.pop(0)[1](network)

        network.actors.append(act)

    return prepare


def of(job, worker):
    return [line["kind"] for line in job.ledger if line["worker"] == worker if line["kind"] != "agreed"]


def test_a_host_that_is_lost_for_good_is_replaced_without_a_restart(start):
    moments = {10: lambda network: network.go(5), 80: lambda network: network.come(5, P + 1)}
    job = start("--steps", "160", prepare=at(moments))
    assert job.status == 0, job.text
    assert not job.errors
    assert [kind for kind in of(job, 4) if kind != "silent"] == ["joined", "dead", "left_out", "joined"]
    (away,) = [line["step"] for line in job.ledger if line["kind"] == "left_out"]
    back = [line["step"] for line in job.ledger if line["worker"] == 4 and line["kind"] == "joined"][-1]
    assert 10 < away < 80 < back
    assert job.text.index("now 11 workers in 3 groups") < job.text.rindex("now 12 workers in 4 groups")
    assert job.summary["votes"]["unanimous"] < 4 * 160
    assert not any(job.summary["ledger"][worker].get("dead") for worker in range(P) if worker != 4)


def churn(least, most):
    """Every two steps a worker that is drawn at random comes, or goes and is gone; up and down between the bounds."""

    def prepare(network):
        rng, here, target, due = np.random.default_rng(5), set(range(1, most + 1)), most, 10
        network.counts = []

        def act():
            nonlocal target, due
            while network.step >= due:
                due += 2
                if len(here) == target:
                    target = int(rng.integers(least, most + 1))
                if len(here) > target:
                    rank = int(rng.choice(sorted(here)))
                    here.remove(rank)
                    network.go(rank)
                elif len(here) < target:
                    rank = int(rng.choice(sorted(set(range(1, most + 1)) - here)))
                    here.add(rank)
                    network.come(rank, most + 1)
                network.counts.append(len(here))

        network.actors.append(act)

    return prepare


@pytest.mark.slow
@pytest.mark.parametrize(("q", "least"), [(1, 3), (4, 18)])
def test_workers_come_and_go_for_500_steps_and_nobody_honest_is_convicted(tmp_path, q, least):
    keys.make(tmp_path / "keys", range(45))
    options = ["--p", "45", "--steps", "500", "--groups", "redrawn", "--secret-seed", "7", "--log-every", "500"]
    options += ["--eval-every", "500", "--transport.absence", "0.01", "--transport.p-min", str(least)]
    lies = ["--attack.kind", "constant", "--attack.placement", "fixed", "--quarantine.policy", "recompute"]
    made = []
    (tmp_path / "quiet").mkdir()
    (tmp_path / "quiet" / "keys").symlink_to(tmp_path / "keys")
    quiet = train(tmp_path / "quiet", *options, "--q", "0", p=45).summary
    moves = churn(least, 45)
    job = train(tmp_path, *options, "--q", str(q), *lies, p=45, prepare=lambda n: (moves(n), made.append(n)))
    assert job.status == 0, job.text
    assert not job.errors
    summary, counts = job.summary, made[0].counts
    print(
        f"| {q} | {min(counts)} to {max(counts)}, {np.mean(counts):.0f} | {summary['skipped_steps']} | "
        f"{quiet['test_accuracy']:.3f} | {summary['test_accuracy']:.3f} |"
    )
    proofs = ("convicted", "proven", "lied", "equivocated")
    convicted = {w for w, told in enumerate(summary["ledger"]) if any(told.get(kind) for kind in proofs)}
    byzantine = create_placement(Config(p=45, q=q, attack=AttackConfig(placement="fixed"))).byzantine(1)
    assert convicted
    assert convicted <= byzantine
    assert {int(worker) for worker in summary["quarantined"]} == convicted
    assert min(counts) < least + 10
    assert summary["test_accuracy"] > quiet["test_accuracy"] - 0.03
