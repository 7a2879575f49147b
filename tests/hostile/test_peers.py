"""Ranks that reach each other over TCP to pass on weights, and hostile ones among them: no bit changes, nobody grows.

Each case is a hostile rank in each of three groups of three. `pytest tests/hostile -s` prints what each one cost.
"""

import contextlib
import os
import socket

import numpy as np
import pytest
from loopback import survived, train

from detox.wire import Header, Kind, keys
from detox.wire.dialer import Dialer
from detox.wire.directory import Talk, say, told
from detox.wire.keys import Keys
from detox.wire.mesh import Mesh
from detox.worker.around import Around

P = 9
HOSTILE = (
    1,
    4,
    9,
)  # ranks: the first, which is dialled by all others, one between, and the last, which dials all others
HONEST = [worker for worker in range(P) if worker + 1 not in HOSTILE]
OPTIONS = (
    *("--q", "0", "--groups", "fixed", "--model", "mlp", "--transport.relay", "relay"),
    *("--transport.deadline", "3", "--transport.fetch-deadline", "1"),
)


class Hostile(Around):
    """A rank's channel to others, on which it `act`s in each step once it is to pass on its slice."""

    def send(self, peers, header, payload=b""):
        self.act(header, bytes(payload))
        super().send(peers, header, payload)

    def raw(self, content):
        self.send_frame(self.peers, 0, np.frombuffer(content, np.uint8))


class Floods(Hostile):
    """Slices of this step and of others, right and wrong ones, as much as the others take."""

    flood = None

    def act(self, header, payload):
        steps = (header.step, header.step + 1, 2**32 - 1)
        frames = [Header(Kind.SLICE, step, file=header.file).frame(content) for step in steps
                  for content in (payload, bytes(len(payload)), b"")]  # fmt: skip
        self.flood = [frame for frame in frames for _ in range(5)]

    def receive(self):
        for frame in self.flood or ():
            self.send_frame([peer for peer in self.peers if self.sending(peer) < 100], 0, frame)
        return super().receive()


class Announces(Hostile):
    """A header that announces gigabytes, again on each new connection."""

    def act(self, header, payload):
        self.raw(Header(Kind.SLICE, header.step, file=header.file).pack(2**40))


class Garbage(Hostile):
    """Random bytes, and messages of all other kinds."""

    def act(self, header, payload):
        for kind in Kind:
            self.raw(Header(kind, header.step).pack(32) + bytes(32))
        if header.step % 2:
            self.raw(os.urandom(5000))


class StopsInTheMiddle(Hostile):
    """Half a slice, and nothing more, for ever; nor does it read."""

    stopped = False

    def act(self, header, payload):
        if header.step > 2 and not self.stopped:
            self.raw(Header(Kind.SLICE, header.step, file=header.file).pack(len(payload)) + payload[:50])
            self.stopped = True

    def send_frame(self, peers, tag, frame):
        if not self.stopped:
            super().send_frame(peers, tag, frame)

    def send(self, peers, header, payload=b""):
        self.act(header, bytes(payload))
        if not self.stopped:
            self._transport.send(peers, header, payload)

    def receive(self):
        return iter(()) if self.stopped else super().receive()


def sends(kind):
    """How a rank reaches others, on a channel of this kind."""

    class Sends(Mesh):
        def near(self, peers):
            session = super().near(peers)
            session.channel = kind(session.channel)
            return session

    return lambda network, rank: Sends


def misleads(network, rank):
    """It says that it listens where the PS does: others go there instead, as if they came to the PS anew."""

    class Misleads(Mesh):
        def near(self, peers):
            session = super().near(peers)
            network.ends[rank].send([0], Header(Kind.PEERS), say({Talk.NEAR: network.port}))
            return session

    return Misleads


def knocks(folder):
    """At all others' doors: without a key, with one of its own making, and with its own under another's number."""

    def choose(network, rank):
        known, guests = {}, network.litter

        class Knocks(Mesh):
            def take(self, message):
                taken = super().take(message)
                if taken:
                    known.update(told(message.payload)[Talk.NEAR])
                return taken

        strange = Keys(folder / "mixed")

        def act():
            for number, (other, address) in enumerate(known.items()):
                if other not in HOSTILE:
                    guest = socket.socket()
                    guest.setblocking(False)
                    guest.connect_ex(address)
                    with contextlib.suppress(OSError):
                        guest.send((b"", os.urandom(2000))[number % 2])
                    dialer = Dialer(address, strange, network.clock, other)
                    with contextlib.suppress(OSError):
                        list(dialer.arrivals([other]))
                    guests.extend([guest, dialer])
            while len(guests) > 200:
                guests.pop(0).close()

        network.actors.append(act)
        return Knocks

    return choose


@pytest.fixture(scope="module")
def baseline(folder):
    """The run without hostile ranks, in which each gets the weights whole."""
    return train(folder, *OPTIONS, "--transport.relay", "star")


def prepare(choose=None, listens=range(1, P + 1)):
    """Has ranks listen for each other; the hostile ones are what `choose` makes of them."""

    def act(network):
        network.listens = listens
        network.reaches = dict.fromkeys(HOSTILE, choose) if choose else {}

    return act


@pytest.mark.parametrize("listens", [range(1, P + 1), (1, 3, 4, 5, 7)], ids=["all", "some"])
def test_slices_that_ranks_pass_on_over_tcp_make_the_same_bits(job_folder, baseline, listens):
    made = []
    job = train(job_folder, *OPTIONS, prepare=lambda network: (prepare(None, listens)(network), made.append(network)))
    survived(job, baseline, range(P), "relay")
    assert {line["kind"] for line in job.ledger} == {"joined"}
    whole = 4 * 9610 * 20  # bytes of the weights of all steps; of the first two they come whole
    got = {rank: end.bytes_received for rank, end in made[0].ends.items() if rank}
    assert {rank for rank, size in got.items() if size < whole / 2} == set(listens), got


def test_colluders_that_reach_each_other_make_the_bits_of_the_channel_in_memory(start, here):
    attack = ("--q", "3", "--attack.kind", "alie", "--attack.placement", "worst")
    job = start("--transport.relay", "star", *attack, prepare=prepare())
    assert job.status == 0, job.text
    assert not job.errors
    assert job.summary["weights_digest"] == here.run(*OPTIONS, "--transport.relay", "star", *attack)["weights_digest"]


def test_who_comes_back_in_a_process_that_does_not_listen_gets_whole_weights(start):
    moves = [(60, lambda network: network.come(5, P + 1)), (3, lambda network: network.go(5))]

    def act(network):
        if moves and network.step >= moves[-1][0]:
            network.listens = set(range(1, P + 1)) - {5}
            moves.pop()[1](network)

    def begin(network):
        prepare()(network)
        network.actors.append(lambda: act(network))

    job = start("--steps", "120", prepare=begin)
    assert job.status == 0, job.text
    told = [(line["step"], line["kind"]) for line in job.ledger if line["worker"] == 4]
    back = max(step for step, kind in told if kind == "joined")
    assert 60 < back < 110
    assert {kind for step, kind in told if step > back + 1} == set()


@pytest.mark.parametrize("kind", [Floods, Announces, Garbage, StopsInTheMiddle], ids=lambda kind: kind.__name__)
def test_what_hostile_relays_send_changes_no_bit(job_folder, baseline, kind):
    survived(train(job_folder, *OPTIONS, prepare=prepare(sends(kind))), baseline, HONEST, kind.__name__)


@pytest.mark.parametrize("kind", ["misleads", "knocks"])
def test_wrong_ways_and_wrong_keys_change_no_bit(folder, job_folder, baseline, tmp_path, kind):
    keys.make(tmp_path / "strangers", range(2))
    known = [(made / "worker-0" / keys.PEERS).read_text() for made in (folder / "keys", tmp_path / "strangers")]
    secret = (tmp_path / "strangers" / "worker-1" / keys.SECRET).read_bytes()
    keys.write(tmp_path / "mixed", secret, "".join(known).encode())
    choose = {"misleads": misleads, "knocks": knocks(tmp_path)}[kind]
    survived(train(job_folder, *OPTIONS, prepare=prepare(choose)), baseline, HONEST, kind)
