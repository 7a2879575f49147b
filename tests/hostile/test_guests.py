"""Guests without a right key: storms, silence, strangers, and the bytes of another's session once more."""

import contextlib
import errno
import os
import select
import socket

import pytest
from loopback import HOST, train

from detox.wire import keys
from detox.wire.dialer import Dialer
from detox.wire.keys import Keys

P = 9
OPTIONS = ("--q", "0", "--groups", "fixed")
MB = 2**20


@pytest.fixture(scope="module")
def baseline(folder):
    return train(folder, *OPTIONS)


def storm(network):
    """Connections in masses, of which some say nothing, some garbage, some what begins like TLS; each for a while."""
    guests = []
    hello = bytes.fromhex("16030100fa010000f60303") + bytes(80)

    def act():
        for number in range(40):
            guest = socket.socket()
            network.litter.append(guest)
            guest.setblocking(False)
            code = guest.connect_ex((HOST, network.port))
            if code in (0, errno.EINPROGRESS):
                with contextlib.suppress(OSError):
                    guest.send((b"", os.urandom(2000), hello, b"GET / HTTP/1.1\r\n\r\n")[number % 4])
            guests.append(guest)
        while len(guests) > 300:
            guests.pop(0).close()

    network.actors.append(act)


def strangers(folder):
    """Ends with keys of their own making: they know the PS's certificate, which is no secret."""

    def prepare(network):
        keys.make(folder / "strangers", range(3))
        dialers = []
        for worker in range(3):
            own = folder / f"mixed-{worker}"
            own.mkdir()
            (own / keys.SECRET).write_bytes((folder / "strangers" / f"worker-{worker}" / keys.SECRET).read_bytes())
            (own / keys.SECRET).chmod(0o600)
            known = [(folder / made / "worker-0" / keys.PEERS).read_bytes() for made in ("keys", "strangers")]
            (own / keys.PEERS).write_bytes(b"".join(known))
            dialers.append(Dialer((HOST, network.port), Keys(own), network.clock))
        network.litter += dialers

        def act():
            for dialer in dialers:
                for connection in dialer.arrivals([0]):
                    connection.end("to dial again")

        network.actors.append(act)

    return prepare


def replay(network):
    """A proxy between worker 0 and the PS, which sends all that it has heard from the worker again and again."""
    listener = socket.create_server((HOST, 0))
    listener.setblocking(False)
    network.ports[1] = listener.getsockname()[1]
    pairs, heard, guests = [], bytearray(), []

    def act():
        try:
            near, _ = listener.accept()
            pairs.append((near, socket.create_connection((HOST, network.port))))
            network.litter += pairs[-1]
        except BlockingIOError:
            pass
        for near, far in pairs:
            for one, other in ((near, far), (far, near)):
                while select.select([one], [], [], 0)[0]:
                    data = one.recv(2**16)
                    if not data:
                        break
                    if one is near:
                        heard.extend(data)
                    other.sendall(data)
        if len(heard) > 2000 and len(guests) < 200:
            guest = socket.create_connection((HOST, network.port))
            guest.setblocking(False)
            guest.send(heard)
            guests.append(guest)
            network.litter.append(guest)

    network.actors.append(act)
    network.litter.append(listener)


@pytest.mark.parametrize("kind", ["storm", "strangers", "replay"])
def test_guests_without_a_right_key_change_nothing(folder, baseline, job_folder, kind):
    prepare, made = {"storm": storm, "strangers": strangers(folder), "replay": replay}[kind], []
    job = train(job_folder, *OPTIONS, prepare=lambda network: (prepare(network), made.append(network)))
    print(f"| {kind} | {job.growth / MB:.1f} | {job.longest:.2f} |")
    assert job.status == 0, job.text
    assert not job.errors
    assert made[0].listener.refused > 0
    assert job.summary["weights_digest"] == baseline.summary["weights_digest"]
    assert job.growth < 64 * MB
    assert {line["kind"] for line in job.ledger} == {"joined"}
