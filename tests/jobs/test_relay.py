"""Weights as slices that ranks pass on, in whole runs: the same bits, few bytes out of the PS, whoever is hostile."""

import json
from collections import Counter

import pytest
from faults import faults

from detox.launch.serve import serve
from detox.wire import Kind
from detox.worker.around import Around
from detox.worker.relay_faults import RELAYS

P, STEPS = 12, 8
OPTIONS = ("--p", str(P), "--q", "0", "--steps", str(STEPS), "--model", "mlp", "--aggregator.name", "mean")
RELAY = (*OPTIONS, "--transport.relay", "relay", "--groups", "fixed")
STAR = (*OPTIONS, "--transport.relay", "star", "--groups", "fixed")
QUIET = ("--aggregator.f", "0", "--attack.placement", "fixed", "--attack.when", "unanimous")  # gradients are right
D = 4 * 9610  # bytes of the weights of mlp
OUT = (Kind.WEIGHTS, Kind.SLICES, Kind.SLICE)


class Counting(Around):
    """The PS's channel, which counts bytes of weights that go out in steps of the training, by kind and step."""

    def __init__(self, channel):
        super().__init__(channel)
        self.bytes, self.by_step = Counter(), Counter()

    def send(self, peers, header, payload=b""):
        self._count(list(peers), header.kind, header.step, 32 + len(payload))
        super().send(peers, header, payload)

    def send_frame(self, peers, tag, frame):
        self._count(list(peers), tag, int.from_bytes(bytes(frame[8:12]), "little"), len(frame))
        super().send_frame(peers, tag, frame)

    def _count(self, peers, kind, step, size):
        if kind in OUT and step:
            self.bytes[Kind(kind)] += size * len(peers)
            self.by_step[step] += size * len(peers)


@pytest.fixture
def run(here):
    """Runs a job of a rank for each worker; gives it, and what the PS has sent."""

    def _run(*options):
        counting = []

        def life(session, argv):
            session.channel = Counting(session.channel)
            counting.append(session.channel)
            return serve(session, argv)

        job = here.start(*options, n=P + 1, life=life)
        assert job.status == 0, job.text
        assert not job.errors
        return job, counting[0]

    return _run


@pytest.fixture(scope="module")
def star(here):
    """The weights' digest where the PS sends them whole."""
    return here.run(*STAR, n=2)["weights_digest"]


def complaints(job):
    """(complainer, rank that it is about) of those in the ledger; a rank has one worker, of the number below."""
    lines = map(json.loads, (job.run / "ledger.jsonl").read_text().splitlines())
    return {(line["rank"], line["others"][0] + 1) for line in lines if line["kind"] == "complained"}


def test_the_weights_go_out_once_and_no_bit_of_the_result_changes(run):
    star, whole = run(*STAR)
    relay, slices = run(*RELAY)
    assert relay.summary["weights_digest"] == star.summary["weights_digest"]
    assert whole.bytes == {Kind.WEIGHTS: STEPS * P * (D + 32)}
    assert slices.bytes.keys() == {Kind.SLICES, Kind.SLICE}
    assert slices.bytes[Kind.SLICE] == STEPS * (D + 32 * P)
    assert sum(slices.bytes.values()) <= 1.2 * STEPS * D
    assert complaints(relay) == set()
    assert all(counts == {"agreed": STEPS} for counts in relay.summary["ledger"])


@pytest.mark.parametrize("kind", sorted(RELAYS.keys() - {"relay_flood", "relay_complain"}))
def test_a_rank_whose_slices_did_not_come_costs_the_ps_no_whole_weights_after(run, star, kind):
    job, sent = run(*RELAY, "--q", "2", *QUIET, *faults((4,), [kind]), "--fault.first", "1")
    assert job.summary["weights_digest"] == star
    assert Kind.WEIGHTS not in sent.bytes
    assert all(sent.by_step[step] <= 1.2 * D for step in range(2, STEPS + 1)), sent.by_step


@pytest.mark.parametrize("kind", sorted(RELAYS.keys() - {"relay_flood", "relay_complain"}))
def test_of_two_such_one_gets_the_weights_whole(run, star, kind):
    job, sent = run(*RELAY, "--q", "2", *QUIET, *faults((4, 9), [kind]), "--fault.first", "1")
    assert job.summary["weights_digest"] == star
    assert 0 < sent.bytes[Kind.WEIGHTS] <= (STEPS - 1) * (D + 32)
    assert all(sent.by_step[step] <= 2.2 * D for step in range(2, STEPS + 1)), sent.by_step


def test_by_itself_a_run_this_small_sends_whole_weights(run):
    _, sent = run(*OPTIONS)
    assert sent.bytes.keys() == {Kind.WEIGHTS}


@pytest.mark.parametrize("kind", RELAYS)
def test_a_hostile_relay_costs_its_slice_and_accuses_nobody_honest(run, star, kind):
    hostile = (4, 9)
    options = ("--q", "2", *QUIET, *faults(hostile, [kind]), "--fault.first", "1")
    relay, sent = run(*RELAY, *options)
    assert relay.summary["weights_digest"] == star
    assert relay.summary["skipped_steps"] == relay.summary["votes"]["none"] == 0
    for step, size in sent.by_step.items():
        assert size <= (1.2 + len(hostile)) * D, step
    edges = complaints(relay)
    assert all({one - 1, other - 1} & set(hostile) for one, other in edges), edges
    if kind != "relay_flood":
        assert edges
    assert all(counts == {"agreed": STEPS} for counts in relay.summary["ledger"])
    assert relay.summary["quarantined"] == {}
