"""Ranks that have a key and run code of their own, over TCP: whatever they do, all others go on to the same bits.

Each case is a hostile rank in each of three groups of three. `pytest tests/hostile -s` prints what each one cost.
"""

import json
import os
import struct
from types import SimpleNamespace

import blosc
import numpy as np
import pytest
from key_updates import Updater
from loopback import HOST, survived, train

from detox.wire import Header, Kind, keys
from detox.wire.messages import HEADER_BYTES
from detox.wire.tcp import Channel

P = 9
HOSTILE = (1, 4, 7)  # ranks; of the groups 0-2, 3-5, 6-8 the first worker each
HONEST = [worker for worker in range(P) if worker + 1 not in HOSTILE]
OPTIONS = ("--q", "0", "--groups", "fixed", "--transport.deadline", "3", "--transport.fetch-deadline", "1")
MB = 2**20


class Hostile(Channel):
    """A rank that does its work, and `act`s whenever it claims."""

    begun = False

    def send(self, peers, header, payload=b""):
        if header.kind == Kind.CLAIM and header.step:
            self.begun = True
            self.act(header, bytes(payload))
        super().send(peers, header, payload)

    def act(self, claim, digest):
        """What it does beside its work."""

    def raw(self, frame):
        super().send_frame([0], 0, np.frombuffer(bytes(frame), np.uint8))

    def message(self, claim, kind=Kind.CLAIM, payload=bytes(32), **changes):
        fields = {"step": claim.step, "worker": claim.worker, "file": claim.file} | changes
        self.raw(Header(kind, **fields).pack(len(payload)) + payload)


class FloodsSmall(Hostile):
    """Messages of every kind that are short, hundreds for each claim."""

    def act(self, claim, digest):
        for kind in Kind:
            for step in (0, claim.step - 1, claim.step, claim.step + 1, 2**32 - 1):
                for worker in (claim.worker, 0, 5, 2**32 - 1):
                    self.message(claim, kind, bytes(32), step=step, worker=worker)


LARGE = [
    np.frombuffer(Header(kind, 1).pack(size) + bytes(size), np.uint8)
    for kind, size in ((Kind.GRADIENT, 2600), (Kind.READY, 2**16))
]


class FloodsLarge(Hostile):
    """Gradients that nobody asked for, and word of being ready as long as it may be, as much as the PS takes."""

    def receive(self):
        for number in range(self.begun * (100 - self.sending(0))):
            super().send_frame([0], 0, LARGE[number % 2])
        return super().receive()


class Announces(Hostile):
    """A header that announces gigabytes; again on the next connection."""

    def act(self, claim, digest):
        self.raw(Header(Kind.GRADIENT, claim.step).pack(2**40))


class Garbage(Hostile):
    """Random bytes; and headers with one byte changed."""

    def act(self, claim, digest):
        whole = bytearray(Header(Kind.CLAIM, claim.step, claim.worker, claim.file).pack(32))
        whole[claim.step % HEADER_BYTES] ^= 1 << claim.step % 8
        self.raw(os.urandom(5000) if claim.step % 2 else bytes(whole) + digest)


class StopsInTheMiddle(Hostile):
    """Half a message, and nothing more, for ever."""

    def act(self, claim, digest):
        if claim.step == 3:
            self.raw(Header(Kind.READY, 1).pack(2**16) + bytes(100))
            self.send = lambda *_: None
            self.send_frame = lambda *_: None


class DripFeeds(Hostile):
    """Its messages a byte a turn."""

    drip = b""

    def send_frame(self, peers, tag, frame):
        if self.begun:
            self.drip += bytes(frame)
        else:
            super().send_frame(peers, tag, frame)

    def receive(self):
        if self.drip:
            super().send_frame([0], 0, np.frombuffer(self.drip[:1], np.uint8))
            self.drip = self.drip[1:]
        return super().receive()


class NeverListens(Hostile):
    """It reads nothing any more, and sends nothing but what is to be answered."""

    deaf = False

    def act(self, claim, digest):
        self.deaf = claim.step >= 3

    def receive(self):
        return iter(()) if self.deaf else super().receive()


def closing(connection):
    """What closes the connection."""
    return SimpleNamespace(close=lambda: connection.end("the job is over"))


class ComesAnew(Hostile):
    """New connections with its right key, one after the other; on each it says that it is another process."""

    dialer = None
    came = 0

    def receive(self):
        if self.begun:
            if self.dialer is None:
                self.dialer = self.network.dialer(self.rank)
                self.network.litter.append(self.dialer)
            for connection in self.dialer.arrivals([0]):
                life = os.urandom(16)
                self.network.litter.append(closing(connection))
                connection.send(np.frombuffer(Header(Kind.JOIN).pack(16) + life, np.uint8))
                self.dialer, ComesAnew.came = None, ComesAnew.came + 1
        return super().receive()


class UpdatesKeys(Hostile):
    """Connections on which it updates its keys, and says nothing."""

    updater = None
    came = 0

    def receive(self):
        if self.begun and self.came < 10:
            if self.updater is None:
                log = self.network.folder.parent / f"log-{self.rank}-{self.came}"
                self.updater = Updater((HOST, self.network.port), self.network.keys(self.rank), log)
                self.network.litter.append(self.updater)
            if self.updater.shake():
                self.updater.send(self.updater.updates(2000))
                self.updater, self.came = None, self.came + 1
        return super().receive()


class JoinsAgain(Hostile):
    """Word that it is another process, hundreds of times on one connection."""

    def act(self, claim, digest):
        for _ in range(300):
            self.message(claim, Kind.JOIN, os.urandom(16))


class Impersonates(Hostile):
    """Claims for all the other workers, before they claim."""

    def act(self, claim, digest):
        for worker in range(P):
            for file in range(3):
                self.message(claim, Kind.CLAIM, bytes(32), worker=worker, file=file)


class Replays(Hostile):
    """All that it has ever sent, again."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sent = []

    def act(self, claim, digest):
        for frame in self.sent[-50:]:
            self.raw(frame)

    def send_frame(self, peers, tag, frame):
        if tag:
            self.sent.append(bytes(frame))
        super().send_frame(peers, tag, frame)


class ClaimsThreeWays(Hostile):
    """Three claims for one file, in each step."""

    def act(self, claim, digest):
        for first in range(3):
            self.message(claim, payload=bytes([first]) * 32)


class Bombs(Hostile):
    """The right claim, and for a gradient what says that it is gigabytes, is one of another length, or none."""

    def send(self, peers, header, payload=b""):
        if header.kind == Kind.GRADIENT and header.step:
            bomb = blosc.compress(bytes(10 * MB), typesize=4, clevel=9, cname="zlib")
            forged = bytearray(bomb[:2000])
            struct.pack_into("<I", forged, 4, 2**31 - 1)
            payload = (bomb, bytes(forged), b"", os.urandom(2000))[header.step % 4]
        super().send(peers, header, payload)


class DeliversLate(Hostile):
    """The right claim, first of all, and the gradient just before its time is over."""

    def send(self, peers, header, payload=b""):
        if header.kind == Kind.GRADIENT and header.step:
            payload = bytes(payload)
            self.network.later(0.95, lambda: super(Hostile, self).send(peers, header, payload))
        else:
            super().send(peers, header, payload)


class Resets(Hostile):
    """Ends its connection in the middle of a message, and comes back."""

    def act(self, claim, digest):
        if claim.step % 3 == 0:
            self.raw(Header(Kind.CLAIM, claim.step, claim.worker, claim.file).pack(32) + digest[:7])
            for connection in list(self._connections.values()):
                connection.end("reset")


RANKS = [
    FloodsSmall, FloodsLarge, Announces, Garbage, StopsInTheMiddle, DripFeeds, NeverListens, ComesAnew, UpdatesKeys,
    JoinsAgain, Impersonates, Replays, ClaimsThreeWays, Bombs, DeliversLate, Resets,
]  # fmt: skip


@pytest.fixture(scope="module")
def baseline(folder):
    """The run without hostile ranks; it also imports and compiles, which takes memory."""
    return train(folder, *OPTIONS)


@pytest.mark.parametrize("kind", RANKS, ids=lambda kind: kind.__name__)
def test_whatever_ranks_do_changes_no_bit(job_folder, baseline, kind):
    job = train(job_folder, *OPTIONS, hostile=dict.fromkeys(HOSTILE, kind))
    survived(job, baseline, HONEST, kind.__name__)


def test_the_bits_are_those_of_the_channel_in_memory(baseline, here):
    summary = here.run("--q", "0", "--groups", "fixed", n=4)
    assert summary["weights_digest"] == baseline.summary["weights_digest"]


def test_the_ledger_knows_each_worker_by_its_key(baseline, folder):
    joined = {line["worker"]: line["detail"] for line in baseline.ledger if line["kind"] == "joined"}
    own = {worker: keys.Keys(folder / "keys" / keys.worker_folder(worker)).fingerprint for worker in range(P)}
    assert {worker: own[worker] in detail for worker, detail in joined.items()} == dict.fromkeys(range(P), True)
    assert {line["host"] for line in baseline.ledger} == {"127.0.0.1"}
    assert json.loads(json.dumps(baseline.summary["hosts"])) == ["127.0.0.1"] * P
