"""Both ends of a channel, for the contract that all of them keep: in one process, over TCP, between ranks that reach
each other over it, and over MPI."""

import os
import signal
import time

import numpy as np
import pytest

from detox.wire import Header, Kind, Message, keys
from detox.wire.dialer import Dialer
from detox.wire.directory import SAID_LIMIT, Directory, heard
from detox.wire.listener import Listener
from detox.wire.memory import Network
from detox.wire.mesh import Mesh
from detox.wire.tcp import Channel

RANKS = (1, 2, 3)
SECONDS = 20


def said(message):
    """What a message says, to be compared: kind, step and payload, or the fault."""
    if message.header is None:
        return message.fault
    return message.header.kind, message.header.step, bytes(message.payload)


class End:
    """A worker rank's end that does what it is told."""

    def __init__(self, channel):
        self.channel = channel
        self.heard = []

    def expect(self, limits):
        self.channel.limits.update(limits)

    def send(self, header, payload=b""):
        self.channel.send([0], header, payload)

    def send_frame(self, tag, frame):
        self.channel.send_frame([0], tag, np.frombuffer(frame, np.uint8))

    def turn(self):
        """What it has heard so far."""
        self.heard += map(said, self.channel.receive())
        return self.heard

    def sending(self):
        return self.channel.sending(0)


class Ends:
    """The PS's channel, and the other ends.

    Attributes:
        ps: the channel.
        workers: by rank.
        heard: (source, what was said) of all that the PS has received.
    """

    def __init__(self, ps, workers, kill):
        self.ps, self.workers = ps, workers
        self.kill = kill
        self.heard = []

    def turn(self):
        self.heard += [(message.source, said(message)) for message in self.ps.receive()]
        for end in self.workers.values():
            end.turn()

    def until(self, condition):
        end = time.monotonic() + SECONDS
        while not condition():
            self.turn()
            if time.monotonic() > end:
                pytest.fail(f"it does not come; so far {self.heard}")
        return self.heard


def memory(folder):
    network = Network()
    ps = network.channel(0, RANKS)
    yield Ends(ps, {rank: End(network.channel(rank, [0])) for rank in RANKS}, network.kill)


def tcp(folder):
    made = folder / "keys"
    keys.make(made, range(len(RANKS)))
    listener = Listener(("127.0.0.1", 0), keys.Keys(made / keys.PS))
    ps = Channel(listener, RANKS)
    workers = {}
    for rank in RANKS:
        dialer = Dialer(("127.0.0.1", listener.port), keys.Keys(made / keys.worker_folder(rank - 1)))
        workers[rank] = End(Channel(dialer, [0]))

    def kill(rank):
        workers.pop(rank).channel.close()

    ends = Ends(ps, workers, kill)
    ends.until(lambda: not ps.dead and not any(end.channel.dead for end in workers.values()))
    yield ends
    for end in workers.values():
        end.channel.close()
    ps.close()


def mesh(folder):
    """Ranks 1 to 4 that reach each other, of which the first, number 0 here, stands for the PS; 0 told them how."""
    made, here = folder / "keys", range(1, len(RANKS) + 2)
    keys.make(made, range(len(here)))
    network, directory = Network(), Directory(dict.fromkeys(here, "127.0.0.1"))
    told = network.channel(0, here)
    told.limits.update({Kind.PEERS: SAID_LIMIT})
    meshes, channels = [], []
    for rank in here:
        own = keys.Keys(made / keys.worker_folder(rank - 1))
        meshes.append(Mesh(network.session(rank, [0]), None, own, ("127.0.0.1", 0)))
        channels.append(meshes[-1].among(1).channel)
    for message in told.receive():
        directory.enter(message.source, heard(message.payload))
    for one in meshes:
        assert one.take(Message(0, Header(Kind.PEERS), memoryview(directory.tell(here))))
    ps, *others = channels
    workers = {rank: End(channel) for rank, channel in zip(RANKS, others, strict=True)}
    ends = Ends(ps, workers, lambda rank: workers.pop(rank).channel.close())
    ends.until(lambda: len(ps.hosts) == len(RANKS) and all(0 in end.channel.hosts for end in workers.values()))
    yield ends
    for one in meshes:
        one.hang_up()


class Puppet:
    """An End in another rank of an MPI job."""

    def __init__(self, world, rank):
        self._world, self._rank = world, rank

    def __getattr__(self, name):
        def order(*arguments):
            from detox.wire.job import links

            links.begin_anew()
            self._world.send((name, arguments), self._rank)
            answer = self._world.recv(source=self._rank)
            links.begin_anew()  # it came beside the channel
            return answer

        return order


def mpi(folder):
    from detox.wire.job import world
    from detox.wire.transport import Transport

    everyone = world()
    for rank in RANKS:
        everyone.send(("begin", ()), rank)

    def kill(rank):
        everyone.send(("die", ()), rank)
        del ends.workers[rank]

    ends = Ends(Transport(everyone.Dup(), RANKS), {rank: Puppet(everyone, rank) for rank in RANKS}, kill)
    yield ends


def obey():
    """The life of a rank of an MPI job, other than the first, until it is told to end."""
    from detox.wire.job import links, world
    from detox.wire.transport import Transport

    everyone = world()
    end = None
    while True:
        links.begin_anew()
        while not everyone.iprobe(source=0):
            time.sleep(0.0005)
        order, arguments = everyone.recv(source=0)
        links.begin_anew()  # it came beside the channel
        if order == "begin":
            end = End(Transport(everyone.Dup(), [0]))
        elif order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == "over":
            return
        else:
            everyone.send(getattr(end, order)(*arguments), 0)


KINDS = {"memory": memory, "tcp": tcp, "mesh": mesh, "mpi": mpi}
