"""Workers that come and go while the steps go on: who is away is left out, and another machine takes its place."""

from functools import partial

import pytest
from loopback import train

from detox.wire import keys

P = 12
OPTIONS = ("--p", "12", "--q", "0", "--groups", "redrawn", "--transport.absence", "0.01")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("churn")
    keys.make(folder / "keys", range(P))
    return folder


@pytest.fixture
def start(folder, tmp_path):
    (tmp_path / "keys").symlink_to(folder / "keys")
    return partial(train, tmp_path, *OPTIONS, p=P)


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
