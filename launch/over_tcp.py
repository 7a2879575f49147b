"""Ranks that mpirun has started go on over TCP: MPI brings each of them its key and the address to dial, no more."""

import json
import os
import platform
import socket
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from detox.config import ConfigError
from detox.config.address import parse_address
from detox.config.messages import TransportConfig
from detox.launch.environment import all_here
from detox.wire import LIFE_BYTES, Header, Kind, Message, Session, keys
from detox.wire.dialer import Dialer
from detox.wire.listener import Listener
from detox.wire.mesh import Mesh
from detox.wire.tcp import Channel

PS = 0
DIAL_LIMIT = 2**22  # bytes: some 600 for each rank
_LOOPBACK = "127.0.0.1"
_MOMENT = 0.01  # seconds


def listen(session: Session, transport: TransportConfig) -> tuple[Channel, keys.Keys]:
    """Makes a key for each rank, and takes the conversation with all of them to TCP, where they come in their own time.

    MPI is looked at until all have taken what they need to come, or one takes part: who has not by then is out for
    good, for as long as MPI is looked at, what anybody sends by it comes into memory. The keys are in no file any more
    when this returns.

    Args:
        session: the conversation with all ranks of workers, over MPI.
        transport: the address that they are to dial.

    Returns:
        The channel that the session is on now, and this end's keys; the peers' are in the order of ranks.

    Raises:
        ConfigError: the other hosts cannot reach the address.
        EntranceError, KeysError: it cannot be listened on; no keys can be made.
    """
    host, port = _address(transport.listen)
    over_mpi, peers = session.channel, session.peers
    with TemporaryDirectory(prefix="detox-ps-") as name:
        made = Path(name, "keys")
        keys.make(made, range(len(peers)))
        own = keys.Keys(made / keys.PS)
        listener = Listener((host, port), own)
        for worker, rank in enumerate(peers):
            folder = made / keys.worker_folder(worker)
            told = {"host": host, "port": listener.port}
            told |= {file: (folder / file).read_text() for file in (keys.SECRET, keys.PEERS)}
            over_mpi.send([rank], Header(Kind.DIAL), json.dumps(told).encode())
    untold = set(peers)

    def look() -> None:
        if session.door is not None and not session.door.absent >= set(peers):
            untold.clear()
        untold.difference_update([rank for rank in untold if not over_mpi.sending(rank)])  # which goes on with it

    channel = _Looking(listener, peers, look)
    session.change(channel, lambda seconds: channel.wait(min(seconds, _MOMENT) if untold else seconds))
    return channel, own


class _Looking(Channel):
    """A channel that looks elsewhere, too, whenever it is looked at, however much comes here."""

    def __init__(self, listener: Listener, peers: Iterable[int], look: Callable[[], None]) -> None:
        super().__init__(listener, peers)
        self._look = look

    def receive(self) -> Iterator[Message]:
        self._look()
        yield from super().receive()


def dial(session: Session, invitation: bytes) -> Mesh:
    """Takes this rank's conversation with the PS to TCP; it dials whenever there is no connection.

    Args:
        session: the conversation over MPI.
        invitation: the payload of DIAL.

    Returns:
        How it reaches other ranks: it listens at the address of this host from which it reaches the PS.
    """
    told = json.loads(invitation)
    with TemporaryDirectory(prefix="detox-ps-") as name:
        folder = Path(name, "keys")
        keys.write(folder, told[keys.SECRET].encode(), told[keys.PEERS].encode())
        own = keys.Keys(folder)
        dialer = Dialer((told["host"], told["port"]), own)
    life = os.urandom(LIFE_BYTES)
    channel = Channel(dialer, [PS], lambda: (Header(Kind.JOIN), life), patient=True)
    mesh = Mesh(session, channel, own, (_own_address(told["host"], told["port"]), 0))
    session.change(channel, mesh.wait)
    return mesh


def _own_address(host: str, port: int) -> str:
    """This host's address on the way to another; nothing is sent."""
    family, kind, _, _, found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(found)
        return str(probe.getsockname()[0])


def _address(listen: str | None) -> tuple[str, int]:
    """The host and port that all ranks are to dial."""
    if listen is None and all_here():
        return _LOOPBACK, 0
    if listen is None:
        host, port = platform.node(), 0
        named = f"{host}, this host's name,"
    else:
        host, port = parse_address("transport.listen", listen, port=0)
        named = f"transport.listen: {host}"
        if all_here() is not False:
            return host, port
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise ConfigError(f"{named} cannot be looked up ({error.strerror}); {_SAY}") from None
    if ip_address(found).is_loopback:
        raise ConfigError(f"{named} is {found} here, which other hosts cannot dial; {_SAY}")
    return host, port


_SAY = 'say by which address they reach it: transport.listen = "10.0.0.1"'
