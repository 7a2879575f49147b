"""Audits in the PS's spare time: decisions from seconds, and a server that takes time by the test's clock."""

from random import Random

import pytest
from helpers import Line, Workers

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.audit import Audit
from detox.ps.ballots import VOTES
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.offences import OffenceQuarantine
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.ps.spare_time import SpareTime
from detox.tasks.samples import Files
from detox.wire import Kind

RANKS = list(range(1, 10))


def play(steps, wait, own, longer=0.0, noise=0.0, spare=None):
    """In which of so many steps a file is computed, where that makes the wait `longer` seconds longer."""
    spare, random, computed = spare or SpareTime(), Random(1), []
    for _ in range(steps):
        enough = spare.enough
        seconds = wait * (1 + noise * random.random())
        spare.learn(own if enough else 0.0, max(seconds + longer, own) if enough else seconds)
        computed.append(enough)
    return computed


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_a_ps_with_a_core_of_its_own_computes_a_file_in_nearly_every_step(noise):
    computed = play(100, wait=1.0, own=0.7, noise=noise)
    assert sum(computed[:4]) == 0
    assert sum(computed) >= 80
    assert sum(computed[50:58]) == 7  # one is without, to compare with


def test_where_workers_do_not_take_longer_than_the_ps_it_computes_none_but_the_first():
    assert sum(play(200, wait=1.0, own=0.9)) == 1


def test_where_it_makes_steps_longer_it_leaves_off_ever_longer():
    computed = play(1000, wait=1.0, own=0.5, longer=0.2)
    assert sum(computed) <= 4 * 7
    assert sum(computed[100:]) > 0


def test_it_takes_up_again_what_has_become_possible():
    spare = SpareTime()
    play(30, wait=1.0, own=0.5, longer=0.2, spare=spare)
    assert sum(play(100, wait=1.0, own=0.5, spare=spare)) > 60


def test_a_copy_decides_as_the_original():
    spare, again = SpareTime(), SpareTime()
    play(37, wait=1.0, own=0.5, longer=0.02, spare=spare)
    again.restore(spare.state())
    assert again.state() == spare.state()
    assert play(50, 1.0, 0.5, spare=again) == play(50, 1.0, 0.5, spare=spare)


def serve(folder, workers, model, *, files, steps, q=0):
    """A server that computes so many files of its own in a step, and the seconds of each step."""
    ledger, quarantine = Ledger(folder / "ledger.jsonl", RANKS, {}), OffenceQuarantine("never", 3, 5, LATE_STEPS)
    scheme = SCHEMES["redrawn"](3, 1)
    server = Server(
        workers.session, RANKS, model, workers.codec, files=Files(3, 4, 1000, 0), scheme=scheme,
        create_ballot=VOTES["digest"], aggregation=Aggregation(create_hierarchy("mean"), scheme, 0, 0), ledger=ledger,
        quarantine=quarantine, audit=Audit(files, 4, quarantine), q=q, on_tie="drop",
    )  # fmt: skip
    seconds = [sum(record.seconds.values()) for record in server.train(1, steps)]
    ledger.close()
    return server, seconds


@pytest.mark.parametrize(("own", "lies"), [(0.1, True), (0.1, False), (0.5, False)])
def test_a_server_audits_while_it_waits_and_no_step_gets_longer(tmp_path, own, lies):
    workers = Workers(RANKS)
    workers.computing = 0.3
    if lies:  # of all workers alike, which nobody but the PS can see
        workers.lies = dict.fromkeys(range(9), lambda vector: -vector)
    model = GlobalModel(Line(), seed=0, steps=100, arguments={"lr": 0.1})

    def compute_files(files):
        workers.network.sleep(own * len(files))
        return workers.compute_files(files)

    model.compute_files = compute_files
    server, seconds = serve(tmp_path, workers, model, files="auto", steps=40)
    late = [step for step, took in enumerate(seconds) if took > 0.33]
    if own < 0.3:
        assert late == []
        assert len(workers.computed) >= 30
        assert (sum(counts["convicted"] for counts in server.ledger.counts) == 3 * len(workers.computed)) is lies
    else:
        assert len(workers.computed) == len(late) == 1


class Link:
    """A channel on which weights take their time, and to some ranks for ever."""

    def __init__(self, channel, clock, seconds):
        self._channel, self._clock, self._seconds, self.there = channel, clock, seconds, {}

    def __getattr__(self, name):
        return getattr(self._channel, name)

    def send(self, peers, header, payload=b""):
        if header.kind == Kind.WEIGHTS:
            self.there |= {peer: self._clock() + self._seconds.get(peer, 0.05) for peer in peers}
        return self._channel.send(peers, header, payload)

    def sending(self, peer):
        return int(self.there.get(peer, 0) > self._clock())


@pytest.mark.parametrize("never", [(), (4, 7)])
def test_the_ps_computes_a_file_of_its_own_once_the_weights_have_left(tmp_path, never):
    workers = Workers(RANKS)
    workers.computing = 0.3
    clock = workers.network.clock
    link = Link(workers.session.channel, clock, dict.fromkeys(never, 1e9))
    workers.session.channel = link
    model, began = GlobalModel(Line(), seed=0, steps=100, arguments={"lr": 0.1}), []

    def compute_files(files):
        began.append((clock(), [there for rank, there in link.there.items() if rank not in never]))
        return workers.compute_files(files)

    model.compute_files = compute_files
    _, seconds = serve(tmp_path, workers, model, files=1, steps=5, q=len(never))
    assert len(began) == 5
    assert all(at >= max(there) for at, there in began)
    assert all(took < 0.33 for took in seconds)
