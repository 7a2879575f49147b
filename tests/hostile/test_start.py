"""Ranks that hold up the start, or lie at it: it goes on without them, and they are in the ledger."""

import json

import pytest
from loopback import train

from detox.wire import Header, Kind
from detox.wire.tcp import Channel

P = 12  # of which 11 are enough
BYZANTINE = 4
OPTIONS = ("--p", "12", "--q", "0", "--groups", "fixed", "--transport.p-min", "11", "--r", "3", "--steps", "10")


class Starting(Channel):
    """A rank that answers START in its own way."""

    def send(self, peers, header, payload=b""):
        if header.kind in (Kind.READY, Kind.CLAIM) and header.step == 0:
            for kind, content in self.says(header, bytes(payload)):
                super().send(peers, Header(kind, 0, header.worker), content)
        else:
            super().send(peers, header, payload)


class SaysNothing(Starting):
    def says(self, header, payload):
        return ()


class NeverLoads(Starting):
    def says(self, header, payload):
        return [(Kind.READY, b'{"loading": 1}')]


class FailsTheTest(Starting):
    def says(self, header, payload):
        return [(header.kind, bytes(32) if header.kind == Kind.CLAIM else payload)]


class Reports(Starting):
    """What it says when it is ready, in the place of what it is."""

    words = b""

    def says(self, header, payload):
        return [(header.kind, payload if header.kind == Kind.CLAIM else self.words)]


def reports(words):
    return type("Reports", (Reports,), {"words": words})


LEFT_OUT = {
    "says nothing": (SaysNothing, "loads data and model"),
    "never loads": (NeverLoads, "loads data and model"),
    "fails the self-test": (FailsTheTest, "computes other bits"),
    "an error like a stage": (reports(b'{"error": "has passed"}'), "has passed"),
    "an error": (reports(b'{"error": "no disk"}'), "no disk"),
    "no JSON": (reports(b"\xff\xfe"), "ready for something else"),
    "nested": (reports(b"[" * 60_000), "ready for something else"),
    "huge number": (reports(b'{"host": ' + b"9" * 60_000 + b"}"), "ready for something else"),
    "thousands of names": (reports(json.dumps(dict.fromkeys(map(str, range(5000)), 1)).encode()), "something else"),
    "megabytes": (reports(bytes(5 * 2**20)), "loads data and model"),
}


@pytest.fixture(scope="module")
def without(folder):
    """The run that rank BYZANTINE + 1 never comes to."""
    return train(folder, *OPTIONS, p=P, absent=(BYZANTINE + 1,))


def told(job):
    return [(line["worker"], line["kind"], line.get("detail", "")) for line in job.ledger]


def test_who_does_not_come_is_left_out_with_an_event(without):
    assert without.status == 0, without.text
    assert (BYZANTINE, "left_out", "has not come") in told(without)
    assert "worker 4 is left out: has not come" in without.text
    assert without.summary["votes"]["unanimous"] == 30
    assert not any(kind == "dead" for _, kind, _ in told(without))


@pytest.mark.parametrize("case", LEFT_OUT)
def test_who_does_not_start_as_it_has_to_is_left_out_to_the_same_bits(start, without, case):
    kind, why = LEFT_OUT[case]
    job = start(hostile={BYZANTINE + 1: kind})
    assert job.status == 0, job.text
    assert any(worker == BYZANTINE and said == "left_out" and why in detail for worker, said, detail in told(job)), (
        job.text
    )
    assert job.summary["weights_digest"] == without.summary["weights_digest"]
    assert job.growth < 64 * 2**20


def test_what_a_rank_says_of_itself_is_plain_characters_beside_its_address(start):
    words = json.dumps({"host": "ps\x1b[2J\u202e", "machine": "x" * 5000}).encode()
    job = start(hostile={BYZANTINE + 1: reports(words)})
    (line,) = [line for line in job.ledger if line["worker"] == BYZANTINE and line["kind"] == "joined"]
    assert line["host"] == "127.0.0.1"
    assert "says it is ps?[2J?" in line["detail"]
    assert "\x1b" not in job.text
    assert len(line["detail"]) < 2000


def test_too_few_are_told_with_who_is_missing_and_why(start):
    job = start("--transport.start-deadline", "2", absent=(1, 2), hostile={BYZANTINE + 1: FailsTheTest})
    assert job.status == 1
    assert "9 of at least 11 workers have passed the self-test with equal bits" in job.text
    assert "0, 1: has not come" in job.text


def test_a_late_worker_joins_and_files_are_drawn_for_it(start):
    class ComesLate(Channel):
        def receive(self):
            return super().receive() if self.network.late else iter(())

    def prepare(network):
        network.late = False

        def look():  # some steps after those that are there have been waited for
            network.late = network.now > 5.05

        network.actors.append(look)

    job = start("--steps", "200", "--groups", "redrawn", hostile={BYZANTINE + 1: ComesLate}, prepare=prepare)
    assert job.status == 0, job.text
    kinds = [kind for worker, kind, _ in told(job) if worker == BYZANTINE]
    assert kinds[:2] == ["left_out", "joined"]
    assert job.summary["ledger"][BYZANTINE].get("agreed", 0) > 0


def test_workers_with_other_bits_make_a_class_and_come_back_with_those_bits_alone(start):
    moves = [(150, lambda network: network.come(1, P + 1)), (3, lambda network: network.go(1))]

    def act(network):
        if moves and network.step >= moves[-1][0]:
            network.hostile.pop(1, None)
            moves.pop()[1](network)

    job = start(
        *("--groups-within", "class", "--transport.p-min", "None", "--aggregator.f", "0", "--steps", "300"),
        hostile=dict.fromkeys((1, 2, 3), FailsTheTest),
        prepare=lambda network: network.actors.append(lambda: act(network)),
    )
    assert job.status == 0, job.text
    assert "classes of 9, 3 workers with equal bits" in job.text
    assert (0, "left_out", "computes other bits than at the start in the self-test") in told(job)
    assert {kind for worker, kind, _ in told(job) if worker} == {"joined"}
