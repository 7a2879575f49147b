"""The ends of the channels that `benchmarks.channels` compares, of the PS and of a peer."""

import select
import socket
import ssl
import time
from collections import defaultdict

import numpy as np

from detox.wire import Header, Message, keys
from detox.wire.connection import Connection, tune
from detox.wire.dialer import Dialer
from detox.wire.listener import Listener
from detox.wire.messages import HEADER_BYTES
from detox.wire.tcp import Channel

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


class SocketStream:
    """TLS by ssl.SSLSocket, in which a peer can keep a call for as long as it likes; used as the channel's own is."""

    def __init__(self, stream, context, server_side):
        self._stream = context.wrap_socket(stream, server_side=server_side, do_handshake_on_connect=False)
        self.fileno, self.getpeername, self.close = self._stream.fileno, self._stream.getpeername, self._stream.close

    def shake(self):
        while True:
            try:
                return self._stream.do_handshake()
            except ssl.SSLWantReadError:
                select.select([self._stream], [], [])

    def send(self, data):
        return self._now(self._stream.send, data)

    def recv_into(self, buffer):
        return self._now(self._stream.recv_into, buffer)

    def _now(self, act, data):
        try:
            return act(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None


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


def server_ends(world, folder, limit, with_zmq):
    """The PS's channel of each name, and where the peers dial."""
    from detox.wire.transport import Transport

    peers = range(1, world.size)
    own = keys.Keys(folder / keys.PS)
    listener = Listener((HERE, 0), own)
    plain = socket.create_server((HERE, 0), backlog=256)
    told = {"tls": listener.port, "plain": plain.getsockname()[1]}
    ends = {"mpi": Transport(world, peers), "tls": Channel(listener, peers)}
    if with_zmq:
        import zmq

        pair = zmq.curve_keypair()
        ends["zmq"] = Zmq(peers, limit, 0, pair)
        told |= {"zmq": ends["zmq"].port, "server": pair}
    for peer in peers:
        world.send(told, peer)
    found = {"plain": [], "sslsocket": []}
    for _ in range(2 * len(peers)):
        stream, _ = plain.accept()
        name, rank = stream.recv(16, socket.MSG_WAITALL).decode().split()
        tune(stream, 600_000)
        if name == "sslsocket":
            stream = SocketStream(stream, own.listening, True)
            stream.shake()
        found[name].append(Connection(stream, int(rank)))
    ends |= {name: Channel(Given(connections), peers) for name, connections in found.items()}
    while ends["tls"].dead or ends["plain"].dead or ends["sslsocket"].dead:
        for name in ("tls", "plain", "sslsocket"):
            list(ends[name].receive())
        time.sleep(0.001)
    return ends


def peer_ends(world, folder, limit, with_zmq):
    """A peer's channel of each name."""
    from detox.wire.transport import Transport

    told = world.recv(source=0)
    own = keys.Keys(folder / keys.worker_folder(world.rank - 1))
    ends = {"mpi": Transport(world, [0])}
    for name in ("plain", "sslsocket"):
        stream = socket.create_connection((HERE, told["plain"]))
        stream.sendall(f"{name} {world.rank}".ljust(16).encode())
        tune(stream, 600_000)
        if name == "sslsocket":
            stream = SocketStream(stream, own.dialling[0], False)
            stream.shake()
        ends[name] = Channel(Given([Connection(stream, 0)]), [0])
        list(ends[name].receive())
    ends["tls"] = Channel(Dialer((HERE, told["tls"]), own), [0])
    while ends["tls"].dead:
        list(ends["tls"].receive())
        time.sleep(0.001)
    if with_zmq:
        ends["zmq"] = Zmq([0], limit, world.rank, told["server"], told["zmq"])
    return ends
