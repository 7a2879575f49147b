"""A server's weights on their way to the ranks: whole to each, or as slices that ranks pass on."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from detox.wire import Header, Kind, Session
from detox.wire.slices import Routes, Slices, cut, divide


class Outgoing:
    """Sends the weights of one server, and any slice of them again.

    Args:
        session: the conversation with the workers' ranks.
        server: this server.
        widths: entries that each of the servers owns.
    """

    def __init__(self, session: Session, server: int, widths: Sequence[int]) -> None:
        self._session = session
        self._server = server
        self._widths = widths
        self._ends: list[int] = []  # of the slices of each server
        self._frames: dict[int, np.ndarray] = {}  # the message of each of its own, by number

    def send(self, step: int, routes: Routes, weights: np.ndarray) -> None:
        """Starts sending a step's weights.

        Args:
            step: the step.
            routes: to all ranks that get them.
            weights: (d + b,) float32, this server's; they may change after.
        """
        by_server = divide(routes.relays, self._widths) if routes.relays else ()
        self._ends = list(accumulate(map(len, by_server)))
        self._frames = {}
        if routes.relays:
            own = by_server[self._server]
            first = self._ends[self._server] - len(own)
            # All are told first, so that nobody gets a slice of which it does not know yet that it is due.
            told = Slices.of(weights, routes, len(own)).pack()
            self._session.send(routes.sliced, Header(Kind.SLICES, step), told)
            for index, rank in enumerate(own):
                part = weights[cut(weights.size, len(own), index)]
                frame = Header(Kind.SLICE, step, file=first + index).frame(part.data.cast("B"))
                self._session.send_frame([rank], Kind.SLICE, frame)
                self._frames[first + index] = frame
        if routes.whole:  # behind the slices, for which all others wait
            self._session.send(routes.whole, Header(Kind.WEIGHTS, step), weights.data.cast("B"))

    def owner(self, index: int) -> int:
        """The server of whose weights this slice is."""
        return next(server for server, end in enumerate(self._ends) if index < end)

    def send_again(self, rank: int, index: int) -> None:
        """Sends one of its own slices to a rank that it did not come to."""
        self._session.send_frame([rank], Kind.SLICE, self._frames[index])
