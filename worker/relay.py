"""A rank's part in bringing the weights to all: it checks its slice, passes it on, and asks for what does not come."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Literal

import numpy as np

from detox.wire import Header, Kind, Message, Session
from detox.wire.relay import Assembly
from detox.wire.slices import Slices, longest

PS = 0
_SHARE = 8  # of a step's deadline, which the wait for another rank may take a part of
_STEPS = 8  # whose slices tell what the next ones may take: in one, half may have come early by chance
# Messages of another rank: one that is due, one that may be early, and those that a link that stalls brings late. With
# fewer granted than came late, all later ones of this rank would be late too.
_BANKED = 32
_SELDOM = 0.1  # seconds between two looks at others, each of 0.2 ms for 44 of them, while no slices are due
_MOMENT = 0.1  # seconds, at least, for its own slice to be on its way before it computes


class Relay:
    """The weights that come to one rank as slices, some of the servers, most of other ranks.

    Of another rank no more is received than a message a step, and up to 32 left over from earlier steps, each no longer
    than a slice, and no more is held than those under way and one slice of weights that this rank has not been told of
    yet. Who has not taken one slice gets no other. Until the PS first tells of slices, which it may never do where
    ranks share a host, this one looks at the others now and then.

    Args:
        session: the conversation with the PS.
        neighbours: the conversation with all other workers' ranks, under the same numbers.
        rank: this rank.
        widths: entries of the weights that each server owns; of one, all.
        deadline: seconds that a step may take.
    """

    def __init__(
        self,
        session: Session,
        neighbours: Session,
        rank: int,
        widths: Sequence[int],
        deadline: float | Literal["auto"] = "auto",
    ) -> None:
        ranks = len(neighbours.peers) + 1
        neighbours.expect({Kind.SLICE: longest(widths, ranks)})
        neighbours.grant(_BANKED)
        self.limits = {Kind.SLICES: Slices.limit(ranks), Kind.SLICE: longest(widths, ranks)}
        self._session = session
        self._neighbours = neighbours
        self._rank = rank
        self._widths = widths
        self._most = math.inf if deadline == "auto" else deadline / _SHARE
        self._step = -1
        self._assembly: Assembly | None = None
        self._first = True  # as long as no weights have begun to come like this
        self._look = -math.inf  # from when on it looks at others before that
        self._halves = deque[float](maxlen=_STEPS)  # seconds that half of the slices took
        self._early: dict[int, Message] = {}  # by sender
        self._began = self._until = 0.0
        self._audience: list[int] = []  # to whom its own slice is on its way
        self._whole: tuple[int, np.ndarray] | None = None

    def take(self, message: Message) -> None:
        """Takes SLICES or SLICE of a server, or SLICE of another rank."""
        self._take(message, self._session.clock())

    def overtaken(self, step: int) -> None:
        """The weights of this step have come whole: those of earlier ones are waited for no longer."""
        if step > self._step:
            self._step, self._assembly, self._audience = step, None, []

    def turn(self) -> bool:
        """Takes what has come of other ranks, and asks the PS for what is late; whether anything has come."""
        now = self._session.clock()
        came = False
        if not self._first or now >= self._look:
            came, self._look = self._neighbours.turn(self.take), now + _SELDOM
        if self._assembly is not None:
            for index, wrong in self._assembly.ask(self._session.clock(), self._neighbours.dead):
                self._session.send([PS], Header(Kind.MISSING, self._step, file=index), bytes([wrong]))
        return came

    def pop(self) -> tuple[int, np.ndarray] | None:
        """The newest step whose weights are whole since this was called, and these; None where there is none."""
        whole, self._whole = self._whole, None
        return whole

    @property
    def passing_on(self) -> bool:
        """Whether others still wait for its slice, which goes on only while this rank looks.

        For as long as the weights took to come, no longer: one that takes nothing shall not keep this rank.
        """
        if self._audience and self._session.clock() < self._until:
            self._audience = [peer for peer in self._audience if self._neighbours.sending(peer)]
            return bool(self._audience)
        return False

    def _take(self, message: Message, now: float) -> None:
        header, source = message.header, message.source
        if header is None or header.step < self._step:
            return
        if header.kind == Kind.SLICES and source < len(self._widths):
            self._hear(source, header.step, Slices.unpack(message.payload), now)
        elif header.kind == Kind.SLICE and self._untold(header):
            self._early[source] = message
        elif header.kind == Kind.SLICE:
            self._place(source, header, message.payload, now)

    def _untold(self, header: Header) -> bool:
        """Whether a slice came before its server's SLICES."""
        return header.step > self._step or (self._assembly is not None and not self._assembly.knows(header.file))

    def _hear(self, server: int, step: int, slices: Slices, now: float) -> None:
        """Learns how weights are cut; from now on this server's slices of that step are due."""
        if step > self._step:
            usual = max(self._halves, default=0.0)
            self._step, self._began, self._audience = step, now, []
            self._neighbours.grant(_BANKED)
            self._assembly = Assembly(
                slices.relays,
                self._rank,
                self._widths,
                resting=slices.resting,
                usual=usual,
                first=self._first,
                most=self._most,
            )
            self._first = False
        if self._assembly is None:
            return
        self._assembly.begin(server, slices.digests, now)
        early, self._early = self._early, {}
        for message in early.values():
            self._take(message, now)

    def _place(self, source: int, header: Header, payload: memoryview, now: float) -> None:
        assembly = self._assembly
        if assembly is None or not assembly.take(source, header.file, payload, now):
            return
        if header.file == assembly.own:
            self._audience = [rank for rank in assembly.audience if not self._neighbours.sending(rank)]
            self._neighbours.send(self._audience, header, payload)
        if assembly.whole:
            self._whole, self._assembly = (self._step, assembly.weights), None
            if assembly.half_took:
                self._halves.append(assembly.half_took)
            self._until = now + max(_MOMENT, now - self._began)
