"""What carries messages, compared: MPI over TCP, plain TCP, TLS by the standard library's sockets and by its memory
BIOs, and ZeroMQ with CURVE.

    mpirun ... python -m benchmarks.channels          (the line that `detox-ps launch` prints, with this behind it)
    python -m benchmarks.channels --peers 1 45        starts it, once for each number of peers

All run in the same processes, in turn in each round: `out` sends a vector to every peer, which answers with nothing;
`in` asks every peer for one. Then each peer floods the PS, which looks every 50 ms. `zmq` needs pyzmq.
"""

import os
import resource
import select
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from benchmarks.measure import machine
from detox.wire import Header, Kind, Message, Session, keys
from detox.wire.connection import Connection, tune
from detox.wire.dialer import Dialer
from detox.wire.listener import Listener
from detox.wire.messages import HEADER_BYTES
from detox.wire.tcp import Channel

NAMES = ["mpi", "plain", "tls", "bio", "zmq"]
FLOODS = {"small": 900, "large": 0}  # bytes; 0: a vector
HERE = "127.0.0.1"


class Given:
    """An entrance for connections that exist already."""

    def __init__(self, connections):
        self._connections = connections

    def arrivals(self, missing):
        yield from self._connections
        self._connections = []

    def watch(self, poll):
        pass

    def close(self):
        pass


class BioStream:
    """TLS by memory BIOs over a socket: more bytes to a call of the system, and a copy more."""

    def __init__(self, stream, context, server_side):
        self._socket = stream
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side)
        self._rest = memoryview(b"")
        self._taken, self._flushing = 0, False
        self._buffer = bytearray(2**18)

    def shake(self):
        while True:
            try:
                self._tls.do_handshake()
                self._flush()
                return
            except ssl.SSLWantReadError:
                self._flush()
                select.select([self._socket], [], [])
                self._fill()

    def _flush(self):
        while self._rest or self._out.pending:
            if not self._rest:
                self._rest = memoryview(self._out.read())
            self._rest = self._rest[self._socket.send(self._rest) :]

    def _fill(self):
        count = self._socket.recv_into(self._buffer)
        self._in.write(memoryview(self._buffer)[:count]) if count else self._in.write_eof()

    def send(self, data):
        while not self._flushing and self._taken < min(len(data), 2**18):
            self._taken += self._tls.write(data[self._taken : self._taken + 2**14])
        self._flushing = True  # until all of it has left, the same data comes again
        self._flush()
        self._flushing, taken, self._taken = False, self._taken, 0
        return taken

    def recv_into(self, buffer):
        if not self._in.pending:
            try:
                return self._tls.read(len(buffer), buffer)
            except ssl.SSLWantReadError:
                self._fill()
        try:
            return self._tls.read(len(buffer), buffer)
        except ssl.SSLWantReadError:
            self._fill()
            return self._tls.read(len(buffer), buffer)

    def fileno(self):
        return self._socket.fileno()

    def getpeername(self):
        return self._socket.getpeername()

    def close(self):
        self._socket.close()


class Zmq:
    """The least of a channel over ZeroMQ: a message a frame, of bounded length and number, encrypted by CURVE."""

    def __init__(self, peers, limit, rank, server, port=None):
        import zmq

        self.zmq, self.peers, self.dead, self.limits, self.credit = zmq, tuple(peers), set(), {}, {}
        self.busy, self.bytes_received = False, 0
        self._socket = zmq.Context(io_threads=1).socket(zmq.DEALER if rank else zmq.ROUTER)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            self._socket.setsockopt(option, 4)
        self._socket.setsockopt(zmq.MAXMSGSIZE, limit + HEADER_BYTES + 64)  # CURVE adds 33
        self._socket.setsockopt(zmq.LINGER, 0)
        self._waiting = defaultdict(list)
        if rank:
            public, secret = zmq.curve_keypair()
            self._socket.curve_serverkey, self._socket.curve_publickey, self._socket.curve_secretkey = (
                server[0], public, secret,
            )  # fmt: skip
            self._socket.setsockopt(zmq.IDENTITY, b"%d" % rank)
            self._socket.connect(f"tcp://{HERE}:{port}")
        else:
            self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._socket.curve_server, self._socket.curve_secretkey = True, server[1]
            self.port = self._socket.bind_to_random_port(f"tcp://{HERE}")

    def send(self, peers, header, payload=b""):
        frame = np.concatenate(
            [np.frombuffer(header.pack(len(payload)), np.uint8), np.frombuffer(payload, np.uint8)]
        ).data
        for peer in peers:
            self._waiting[peer].append(frame)
            self.sending(peer)

    def sending(self, peer):
        head = [b"%d" % peer] if self._socket.type == self.zmq.ROUTER else []
        try:
            while self._waiting[peer]:
                self._socket.send_multipart([*head, self._waiting[peer][0]], self.zmq.NOBLOCK, copy=False)
                self._waiting[peer].pop(0)
        except self.zmq.ZMQError:
            pass
        return len(self._waiting[peer])

    def receive(self):
        for peer in list(self._waiting):
            self.sending(peer)
        while True:
            try:
                *head, frame = self._socket.recv_multipart(self.zmq.NOBLOCK, copy=False)
            except self.zmq.Again:
                return
            header, length = Header.read(frame.buffer)
            source = int(head[0].bytes) if head else 0
            if length > self.limits.get(header.kind, -1):
                yield Message(source, None, memoryview(b""), "too long")
            else:
                yield Message(source, header, frame.buffer[HEADER_BYTES:])

    def wait(self, seconds):
        out = self.zmq.POLLOUT if any(self._waiting.values()) else 0
        self._socket.poll(max(1, round(1000 * seconds)), self.zmq.POLLIN | out)


def server_ends(world, folder, limit):
    """The PS's channel of each name, and where the peers dial."""
    import socket

    from detox.wire.transport import Transport

    peers = range(1, world.size)
    own = keys.Keys(folder / keys.PS)
    listener = Listener((HERE, 0), own)
    plain = socket.create_server((HERE, 0), backlog=256)
    told = {"tls": listener.port, "plain": plain.getsockname()[1]}
    ends = {"mpi": Transport(world, peers), "tls": Channel(listener, peers)}
    if "zmq" in NAMES:
        import zmq

        pair = zmq.curve_keypair()
        ends["zmq"] = Zmq(peers, limit, 0, pair)
        told |= {"zmq": ends["zmq"].port, "server": pair}
    for peer in peers:
        world.send(told, peer)
    found = {"plain": [], "bio": []}
    for _ in range(2 * len(peers)):
        stream, _ = plain.accept()
        name, rank = stream.recv(16, socket.MSG_WAITALL).decode().split()
        tune(stream, 600_000)
        if name == "bio":
            stream = BioStream(stream, own.context(ssl.Purpose.CLIENT_AUTH), True)
            stream.shake()
        found[name].append(Connection(stream, int(rank)))
    ends |= {name: Channel(Given(connections), peers) for name, connections in found.items()}
    while ends["tls"].dead or ends["plain"].dead or ends["bio"].dead:
        for name in ("tls", "plain", "bio"):
            list(ends[name].receive())
        time.sleep(0.001)
    return ends


def peer_ends(world, folder, limit):
    """A peer's channel of each name."""
    import socket

    from detox.wire.transport import Transport

    told = world.recv(source=0)
    own = keys.Keys(folder / keys.worker_folder(world.rank - 1))
    ends = {"mpi": Transport(world, [0])}
    for name in ("plain", "bio"):
        stream = socket.create_connection((HERE, told["plain"]))
        stream.sendall(f"{name} {world.rank}".ljust(16).encode())
        tune(stream, 600_000)
        if name == "bio":
            stream = BioStream(stream, own.context(ssl.Purpose.SERVER_AUTH), False)
            stream.shake()
        ends[name] = Channel(Given([Connection(stream, 0)]), [0])
        list(ends[name].receive())
    ends["tls"] = Channel(Dialer((HERE, told["tls"]), own), [0])
    while ends["tls"].dead:
        list(ends["tls"].receive())
        time.sleep(0.001)
    if "zmq" in NAMES:
        ends["zmq"] = Zmq([0], limit, world.rank, told["server"], told["zmq"])
    return ends


def session_on(channel, size):
    session = Session(channel, sleep=getattr(channel, "wait", time.sleep))
    session.expect(
        dict.fromkeys((Kind.WEIGHTS, Kind.WORK, Kind.GRADIENT, Kind.CLAIM, Kind.FETCH, Kind.ECHO, Kind.QUIT), size)
    )
    return session


def obey(ends, size):
    """A peer: is told over MPI which channel is next, and does on it what it is asked for until QUIT."""
    vector = np.zeros(size, np.uint8).data
    sessions = {name: session_on(channel, size) for name, channel in ends.items()}
    told = []

    def hear(message):
        if message.header is not None:
            told.append(message.header)

    while True:
        sessions["mpi"].wait(lambda: bool(told), hear)
        order = told.pop(0)
        if order.kind == Kind.QUIT:
            return
        session, before = sessions[NAMES[order.step]], time.process_time()
        while True:
            session.wait(lambda: bool(told), hear)
            asked = told.pop(0)
            if asked.kind == Kind.QUIT:
                break
            if asked.kind == Kind.WEIGHTS:
                session.send([0], Header(Kind.CLAIM))
            elif asked.kind == Kind.WORK:
                session.send([0], Header(Kind.GRADIENT), vector)
            elif asked.kind == Kind.FETCH:
                flood(session, asked.step / 1000, vector[: asked.file] if asked.file else vector)
        used = np.float64(time.process_time() - before)
        session.wait(lambda session=session: not session.sending(0), hear)
        sessions["mpi"].send([0], Header(Kind.BYE), used.tobytes())


def flood(session, seconds, payload):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if session.sending(0) < 4:
            session.send([0], Header(Kind.ECHO), payload)
        else:
            session._sleep(0.001)


def phase(sessions, name, act):
    """Runs `act` on one of the channels; seconds, and CPU seconds of all ranks together."""
    peers, index = sessions["mpi"].peers, NAMES.index(name)
    sessions["mpi"].expect({Kind.BYE: 8})
    sessions["mpi"].send(peers, Header(Kind.WORK, index))
    sessions["mpi"].wait(lambda: not any(map(sessions["mpi"].sending, peers)), lambda message: None)
    time.sleep(0.05)
    session = sessions[name]
    session.expect({Kind.GRADIENT: SIZE, Kind.CLAIM: 0})
    start, before = time.monotonic(), time.process_time()
    result = act(session)
    seconds, cpu = time.monotonic() - start, time.process_time() - before
    session.send(peers, Header(Kind.QUIT))
    session.wait(lambda: not any(map(session.sending, peers)), lambda message: None)
    used = []
    sessions["mpi"].expect({Kind.BYE: 8})

    def hear(message):
        if message.header is not None and message.header.kind == Kind.BYE:
            used.append(float(np.frombuffer(message.payload, np.float64)[0]))

    while len(used) < len(peers):
        sessions["mpi"].turn(hear)
        if session is not sessions["mpi"]:
            session.turn(lambda message: None)
        time.sleep(0.001)
    return seconds, cpu + sum(used), result


def send_out(session):
    heard = []
    session.send(session.peers, Header(Kind.WEIGHTS), VECTOR.data)
    session.wait(lambda: len(heard) == len(session.peers), heard.append)


def take_in(session):
    count = Counter()
    session.send(session.peers, Header(Kind.WORK))
    session.wait(lambda: count.total() == len(session.peers), lambda message: count.update([message.source]))


def under_flood(size, seconds):
    def act(session):
        before, most = memory(), 0
        session.send(session.peers[:4], Header(Kind.FETCH, round(1000 * seconds), 0, size))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            session.turn(lambda message: None)
            most = max(most, memory())
            time.sleep(0.05)
        return max(0, most - before)

    return act


def memory():
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(ends, rounds, seconds):
    """Prints the tables."""
    sessions = {name: session_on(channel, SIZE) for name, channel in ends.items()}
    n = len(sessions["mpi"].peers)
    found = defaultdict(list)
    for number in range(rounds + 1):
        for name in NAMES:
            for what, act in (("out", send_out), ("in", take_in)):
                took, cpu, _ = phase(sessions, name, act)
                print(f"round {number} {name} {what}: {took:.2f} s, {cpu:.2f} s of CPU", file=sys.stderr, flush=True)
                if number:
                    found[name, what].append((took, cpu))
    print(f"\n{n} peers, {SIZE / 1e6:g} MB each way, median of {rounds} rounds\n")
    print("| channel | out, GB/s | in, GB/s | CPU, s per GB, all ranks |\n|---|---|---|---|")
    for name in NAMES:
        rates = {w: n * SIZE / 1e9 / statistics.median(t for t, _ in found[name, w]) for w in ("out", "in")}
        cpu = statistics.median(c for w in ("out", "in") for _, c in found[name, w]) / (n * SIZE / 1e9)
        print(f"| {name} | {rates['out']:.2f} | {rates['in']:.2f} | {cpu:.2f} |")
    if seconds:
        print(f"\ngrowth of the PS in {seconds:g} s under {min(n, 4)} peers that flood, MB\n")
        print(f"| channel | {' | '.join(FLOODS)} |\n|---|{'---|' * len(FLOODS)}")
        for name in NAMES:
            grown = [phase(sessions, name, under_flood(size, seconds))[2] / 1e6 for size in FLOODS.values()]
            print(f"| {name} | {' | '.join(f'{g:.1f}' for g in grown)} |", flush=True)
    sessions["mpi"].send(sessions["mpi"].peers, Header(Kind.QUIT))
    time.sleep(0.5)


def main():
    global SIZE, VECTOR
    line = ArgumentParser("benchmarks.channels")
    line.add_argument("--peers", type=int, nargs="+", default=[1, 45])
    line.add_argument("--megabytes", type=float, default=45)
    line.add_argument("--rounds", type=int, default=5)
    line.add_argument("--flood", type=float, default=5, metavar="SECONDS")
    line.add_argument("--without", nargs="*", default=[], choices=NAMES[1:])
    line.add_argument("--keys", type=Path, help="(of the ranks)")
    options = line.parse_args()
    for name in options.without:
        NAMES.remove(name)
    SIZE = round(options.megabytes * 1e6)
    if options.keys is None:
        from detox.launch.mpirun import mpirun_line

        print(machine(), flush=True)
        for peers in options.peers:
            with tempfile.TemporaryDirectory() as folder:
                keys.make(Path(folder, "keys"), range(peers))
                own = [sys.executable, "-m", "benchmarks.channels", *sys.argv[1:], "--keys", f"{folder}/keys"]
                subprocess.run(mpirun_line(peers + 1, None, own), check=False)
        return
    from detox.wire.job import leave, world

    VECTOR = np.zeros(SIZE, np.uint8)
    if world().rank:
        obey(peer_ends(world(), options.keys, SIZE), SIZE)
        os._exit(0)
    measure(server_ends(world(), options.keys, SIZE), options.rounds, options.flood)
    leave(0, False)


if __name__ == "__main__":
    main()
