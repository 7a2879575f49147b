"""`detox-ps join`: one worker of a run that `detox-ps serve` serves, on a machine that only dials out."""

import os
import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import NoReturn

from detox.config.address import parse_address
from detox.launch import failure
from detox.launch.environment import fix_torch, handle_signals
from detox.launch.listen import add_as_root, to_listen_on
from detox.launch.train import end_with_threads
from detox.wire import LIFE_BYTES, Header, Kind, Session
from detox.wire.connection import EntranceError
from detox.wire.dialer import Dialer
from detox.wire.keys import Keys
from detox.wire.listener import Listener
from detox.wire.mesh import Mesh
from detox.wire.tcp import Channel

PS = 0
_GOODBYE = 2.0  # seconds for the last words to arrive


def join(argv: list[str]) -> int:
    """Works until the run is over; 0 if the parameter server has said so."""
    from detox.launch.work import work

    options = parser().parse_args(argv)
    own = Keys(options.keys)
    end_with_threads()
    fix_torch()
    handle_signals(signal.SIG_DFL)
    dialer = Dialer(parse_address("HOST:PORT", options.address), own)
    life = os.urandom(LIFE_BYTES)
    channel = Channel(dialer, [PS], lambda: (Header(Kind.JOIN), life), patient=True)
    teller = _Teller(channel, dialer, options.address, own)

    def sleep(seconds: float) -> None:
        teller.look()
        if reach is None:
            channel.wait(seconds)
        else:
            reach.wait(seconds)

    session = Session(channel, sleep=sleep)
    reach = None
    if options.listen is not None:
        address = to_listen_on(options.listen, options.as_root)
        Listener(address, own).close()  # which says so at once where that cannot be
        reach = Mesh(session, channel, own, address)
    try:
        status, orderly = work(session, own.rank, _abort, reach)
        channel.close_entrance()
        session.wait(lambda: not channel.connected, lambda _: None, deadline=session.clock() + _GOODBYE)
    finally:
        channel.close()
        if reach is not None:
            reach.hang_up()
    if not orderly:
        failure.say("the parameter server has been silent for too long")
    return status if orderly else failure.FAILURE


def _abort() -> NoReturn:
    os.abort()


class _Teller:
    """Says how the connection is, whenever that changes."""

    def __init__(self, channel: Channel, dialer: Dialer, address: str, own: Keys) -> None:
        self._channel, self._dialer, self._address, self._own = channel, dialer, address, own
        self._said = ""

    def look(self) -> None:
        """Says what there is to say.

        Raises:
            EntranceError: the parameter server does not know this key.
        """
        if self._channel.closed:
            return
        lost = self._channel.why.get(PS, "")
        if not self._channel.bytes_received and "ALERT" in lost and "CERT" in lost + "CERT" * ("UNKNOWN_CA" in lost):
            raise EntranceError(f"{self._address} does not know the key {self._own.fingerprint}")
        now = "connected" if self._channel.connected else f"no connection: {self._dialer.why or lost or 'dialling'}"
        if now != self._said and (now == "connected" or self._dialer.why or lost):
            self._said = now
            print(f"{self._address}: {now}", flush=True)


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps join",
        allow_abbrev=False,
        description="Works for the run that detox-ps serve serves at HOST:PORT, until it is over. It dials again when "
        "the connection is lost, and begins anew when the parameter server does.",
    )
    line.add_argument("address", metavar="HOST:PORT")
    line.add_argument(
        "--keys", type=Path, required=True, metavar="FOLDER", help="this worker's, as detox-ps keys has made it"
    )
    line.add_argument(
        "--listen",
        metavar="HOST:PORT",
        help="the address of this host at which other workers may dial it, to pass on weights to each other where the "
        "run has transport.relay; unset: nobody does, and it gets them from the parameter server",
    )
    add_as_root(line)
    return line
