"""The start of a job at the PS and at a rank: what each does with what the other says, or does not; no MPI."""

import json
import platform
from functools import partial

import numpy as np
import pytest

from detox.config import Config, ConfigError
from detox.launch import ranks
from detox.launch.ranks import Readiness, dismiss, send_start
from detox.launch.training import create_relays
from detox.launch.work import work
from detox.ps.selftest import StartError
from detox.tasks import TaskError
from detox.tasks.users import users_code
from detox.wire import Header, Kind, Work
from detox.wire.memory import Network

FACTS = {"host": "h2", "torch": "2"}


class Ranks:
    """Ranks 1 and 2 of a network: what each of them says; then those in `dies` do."""

    def __init__(self, said=(), dies=()):
        self.network, self.heard = Network(), []
        self.session = self.network.session(0, [1, 2])
        self.session.expect({Kind.READY: 2**16, Kind.BYE: 0})
        for rank, words in dict(said).items():
            channel = self.network.channel(rank, [0], self.heard.append)
            for word in words:
                kind, payload = (Kind.BYE, b"") if word is None else (Kind.READY, word)
                channel.send([0], Header(kind), payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        for rank in dies:
            self.network.later(0.01, partial(self.network.kill, rank))


LOADING = {"host": "h2", "loading": 1}
WELL = {"host": "h1", "torch": "2"}


@pytest.mark.parametrize(
    ("second", "dies", "error", "words"),
    [
        (
            [LOADING, {"host": "h2", "error": "KeyError: 'x', in own.py:3 (loss)"}],
            (),
            TaskError,
            "rank 2 on h2: KeyErr",
        ),
        ([{"error": "no data"}], (), TaskError, "^rank 2: no data"),
        ([LOADING], (2,), StartError, "rank 2 on h2 died while data and model were loaded"),
        ([], (2,), StartError, "rank 2 died while"),
        ([LOADING], (), StartError, r"rank 2 on h2 had not loaded .* transport.start_deadline = 0.05 s"),
        ([], (), StartError, r"rank 2 had not loaded"),
        ([b"[" * 60_000], (), StartError, "rank 2 is ready for something else"),
        ([b'{"threads": ' + b"9" * 60_000 + b"}"], (), StartError, "rank 2 is ready for something else"),
        ([b'{"threads": 1e999}'], (), StartError, "rank 2 is ready for something else"),
        ([b'{"host": ["' + b"x" * 9000 + b'"]}'], (), StartError, "rank 2 is ready for something else"),
        ([b"\xff\xfe"], (), StartError, "rank 2 is ready for something else"),
    ],
)
def test_a_rank_that_does_not_become_ready_is_named_with_its_host(monkeypatch, second, dies, error, words):
    monkeypatch.delenv("OMPI_COMM_WORLD_SIZE", raising=False)
    with pytest.raises(error, match=words) as raised:
        Readiness(Ranks({1: [WELL], 2: second}, dies).session).wait(0.05)
    assert len(str(raised.value)) < 300


def test_a_rank_that_died_in_silence_is_on_this_host_where_all_ranks_are(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "3")
    with pytest.raises(StartError, match=f"^rank 2 on {platform.node()} died"):
        Readiness(Ranks({1: [WELL]}, dies=(2,)).session).wait(300)


def test_ranks_are_ready_when_they_have_said_more_than_that_they_load():
    ready = Readiness(Ranks({1: [{"host": "h1", "loading": 1}, WELL], 2: [LOADING, FACTS]}).session).wait(300)
    assert ready == {1: WELL, 2: FACTS}


@pytest.mark.parametrize(("dies", "late", "seconds"), [((), 1.0, 1.0), ((2,), 1.0, 0.01), ((), 60.0, 5.0)])
def test_the_ps_loads_its_own_data_once_all_ranks_have_been_told_to_start(dies, late, seconds):
    ranks = Ranks(dies=dies)
    quick, slow = (ranks.network.channel(rank, [0]) for rank in (1, 2))
    for channel in (quick, slow):
        channel.limits.update({Kind.START: 2**16})

    def answer():
        if list(quick.receive()):
            quick.send([0], Header(Kind.READY), json.dumps(WELL).encode())

    ranks.network.actors.append(answer)
    ranks.network.later(late, lambda: list(slow.receive()))
    readiness = Readiness(ranks.session)
    send_start(ranks.session, Config(), [1, 2], readiness.take)
    assert ranks.network.now == pytest.approx(seconds, abs=0.02)
    with pytest.raises(StartError, match=r"^rank 2 "):
        readiness.wait(0.0)  # rank 1 has been heard while it waited


def test_only_ranks_that_all_say_goodbye_are_dismissed_in_order():
    for said, dies, orderly, seconds in (
        ({1: [None], 2: [None]}, (), True, 0),
        ({1: [None]}, (), False, 2),
        ({1: [None]}, (2,), False, 0.01),
    ):
        ranks = Ranks(said, dies)
        assert dismiss(ranks.session) is orderly
        assert ranks.network.now == pytest.approx(seconds, abs=0.02)
        assert {message.header.kind for message in ranks.heard} == {Kind.QUIT}


class Working:
    """A rank on a network that was told to start, and is told to leave a moment later; `fellows` makes no conversation.

    Attributes:
        session: the rank's.
        heard: what it has said.
        limits: by kind, the bytes that it takes when it is told to leave.
    """

    def __init__(self, config):
        network, self.heard, self.limits = Network(), [], {}
        self.session = network.session(1, [0])
        self._ps = network.channel(0, [1], self.heard.append)
        told = {"config": config.model_dump(mode="json"), "ranks": [1] * config.p}
        self._ps.send([1], Header(Kind.START), json.dumps(told).encode())
        network.later(0.01, self.leave)

    def leave(self):
        self.limits.update(self.session.channel.limits)
        self._ps.send([1], Header(Kind.QUIT))

    def work(self, reach=None):
        return work(self.session, 1, None, reach)


class Meets:
    """Reach of no other rank; what it does when this one is to meet its fellows is given."""

    def __init__(self, act):
        self.among = act

    def hang_up(self):
        pass


def test_a_rank_takes_work_of_any_size_that_the_config_asks_for():
    rank = Working(Config(model="softmax", batch_size=200_000))
    assert rank.work() == (0, True)
    payload = Work(bytes(32), 1, True, np.zeros(3 * 200_000, np.int64)).pack()
    assert rank.limits[Kind.WORK] == len(payload) > 2**22


def test_ranks_of_workers_meet_only_where_byzantine_ones_collude():
    met = []

    def meet(first):
        met.append(first)
        return Network().session(0, [])

    assert Working(Config(model="softmax", q=3, attack={"kind": "constant"})).work(Meets(meet)) == (0, True)
    assert met == []
    assert Working(Config(model="softmax", q=3, attack={"kind": "alie"})).work(Meets(meet)) == (0, True)
    assert met == [1]


def test_a_config_that_is_too_long_to_be_sent_is_refused_before_the_start(monkeypatch):
    config = Config(model="softmax")
    monkeypatch.setattr(ranks, "START_LIMIT", 100)
    with pytest.raises(ConfigError, match="at most 100 can be sent"):
        send_start(Ranks().session, config, [1, 2], pytest.fail)


@pytest.mark.parametrize(
    "act", ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise KeyError('x')", "import nowhere", "x = = 1"]
)
def test_whatever_a_task_does_when_it_is_loaded_on_a_rank_is_told_to_the_ps(tmp_path, monkeypatch, act):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.modules", {**__import__("sys").modules})
    (tmp_path / "bad_task.py").write_text(f"\n{act}\n")
    rank = Working(Config(task="bad_task:T"))
    assert rank.work() == (0, True)
    assert [message.header.kind for message in rank.heard] == [Kind.READY, Kind.READY, Kind.BYE]
    said = json.loads(bytes(rank.heard[1].payload))
    assert said["host"] == platform.node()
    assert "No module named 'nowhere'" in said["error"] or f"{tmp_path / 'bad_task.py'}:2" in said["error"]


def test_a_rank_that_dies_of_the_task_in_a_step_says_so_before(tmp_path):
    scope = {}
    own = tmp_path / "own.py"
    own.write_text("import os\n\ndef loss():\n    os._exit(3)\n")
    exec(compile(own.read_text(), str(own), "exec"), scope)

    def fail(_):
        with users_code("the loss"):
            scope["loss"]()

    def break_down(_):
        raise StartError("the weights arrived changed")

    for act, error, goodbyes in ((break_down, StartError, []), (fail, TaskError, [Kind.BYE])):
        rank = Working(Config(model="softmax", q=1, attack={"kind": "alie"}))
        with pytest.raises(error):
            rank.work(Meets(act))
        assert [message.header.kind for message in rank.heard] == [Kind.READY, Kind.READY, *goodbyes]
    assert bytes(rank.heard[-1].payload).decode() == f"the loss called os._exit(3), in {own}:4 (loss)"


def test_a_rank_that_is_told_to_start_and_to_leave_at_once_leaves():
    rank = Working(Config(model="softmax"))
    rank.leave()
    assert rank.work() == (0, True)
    assert [message.header.kind for message in rank.heard] == [Kind.BYE]


@pytest.mark.parametrize(
    ("count", "on", "relayed"),
    [(45, 1, False), (3, 3, False), (6, 2, False), (45, 3, False), (5, 5, False), (6, 4, True), (6, 6, True)],
)
def test_auto_is_the_star_on_one_machine_and_on_three_hosts(count, on, relayed):
    config = Config(p=count, q=0, r=1)
    assert config.transport.relay == "auto"
    hosts = {rank: f"h{rank % on}" for rank in range(1, count + 1)}
    relays, why_not = create_relays(config, list(hosts), 2**24, hosts)
    assert (relays is not None) == relayed
    assert not why_not
    over_tcp = Config(p=count, q=0, r=1, transport={"channel": "tcp"})
    assert create_relays(over_tcp, list(hosts), 2**24, hosts) == (None, "")
