"""A further server's loop: it does with its share of the votes what the PS does with its own, when it is told to."""

import json
from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np

from detox.aggregators.arrays import Floats
from detox.errors import JobError
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import Verdict, judge
from detox.ps.landing import Landing
from detox.ps.outgoing import Outgoing
from detox.ps.round import closed_up
from detox.ps.servers import REPORT_LIMIT, packed, unpacked
from detox.ps.share import OwnShare
from detox.wire import Chunks, Codec, Header, Kind, Message, Session, WireError
from detox.wire.slices import Routes

PS = 0
_ENDS = {Kind.QUIT, Kind.START}
_OBEYED = set(Kind) - {Kind.PART, Kind.SUM}


class Peers:
    """The other servers, as one of them sees them: through the PS; see detox.aggregators.stored.Owners.

    Args:
        session: the conversation with the PS.
        workers: that with the ranks of workers.
        begin, width: its first column, and those of all.
        silence: seconds without a word from the PS until it is lost.

    Attributes:
        orders: what has come of the PS, and is not done yet.
        late: what workers have sent while it waited for the PS, as far as it was `due`, by sender and header.
        due: whether a message is one that a worker was asked for, and has not answered; what else comes is dropped, and
            so are copies, or a worker could fill this server's memory meanwhile.
    """

    def __init__(self, session: Session, workers: Session, begin: int, width: int, silence: float) -> None:
        self.orders: deque[Message] = deque()
        self.late: dict[tuple[int, Header | None], Message] = {}
        self.due: Callable[[Message], bool] = lambda _: True
        self.begin = begin
        self.width = width
        self._session = session
        self._workers = workers
        self._silence = silence
        self._step = 0

    def gather(self, part: Floats) -> Floats:
        """Gives its part when the PS asks for it, and returns those of all.

        Raises:
            JobError: the PS is lost, or has ended the run.
        """
        self._next(Kind.PART)
        self._session.send([PS], Header(Kind.PART, self._step), np.ascontiguousarray(part).data.cast("B"))
        return np.frombuffer(self._next(Kind.SUM)).reshape(-1, *part.shape[1:])

    def _next(self, kind: Kind) -> memoryview:
        """The payload of the first order of that kind; a short message comes before a long one that was sent first."""
        awaited = {kind, *_ENDS}
        self._session.wait(
            lambda: bool(self._session.dead) or self.first(awaited) is not None,
            self.orders.append,
            silence=self._silence,
            then=self._keep,
        )
        order = self.first(awaited)
        if order is None or order.header is None or order.header.kind != kind:
            raise JobError("the PS is lost, or ended the run in the middle of a step")
        self.orders.remove(order)
        self._step = order.header.step
        return order.payload

    def first(self, kinds: Container[Kind]) -> Message | None:
        """The first order of one of these kinds."""
        return next((order for order in self.orders if order.header is not None and order.header.kind in kinds), None)

    def _keep(self) -> bool:
        """Takes what workers send meanwhile, which would wait in MPI's memory; it is no sign of the PS."""
        self._workers.turn(
            lambda message: (
                self.late.setdefault((message.source, message.header), message) if self.due(message) else None
            )
        )
        return False


class FurtherServer:
    """Server 1..S-1: workers send it its share of what they have claimed, and get its share of the weights.

    Args:
        session: the conversation with the PS.
        workers: that with the ranks of workers.
        ranks: rank of each worker.
        peers: the other servers.
        outgoing: sends its share of the weights.
        share: its share of the model.
        codec: how its share of a gradient travels.
        rows: (files, d + b) float32: the votes.
        create_aggregation: makes the aggregation of f bad votes with a secret seed.
        silence: seconds without a word from the PS until it leaves.

    Attributes:
        last: the message that ended its work, QUIT or START; None as long as there is none.
    """

    def __init__(
        self,
        session: Session,
        workers: Session,
        ranks: Sequence[int],
        peers: Peers,
        outgoing: Outgoing,
        share: OwnShare,
        codec: Codec,
        rows: np.ndarray,
        create_aggregation: Callable[[int, int], Aggregation],
        silence: float,
    ) -> None:
        self.last: Message | None = None
        self._session = session
        self._workers = workers
        self._ranks = ranks
        self._share = share
        self._codec = codec
        self._rows = rows
        self._create_aggregation = create_aggregation
        self._silence = silence
        self._secret = 0
        self._step = 0
        self._claims: dict[tuple[int, int], bytes] = {}  # digests, by edge
        self._chunks: dict[tuple[int, int], Chunks] = {}
        self._landings: dict[int, Landing] = {}  # by file
        self._settled: set[int] = set()  # files
        self._peers = peers
        peers.due = self._due
        self._outgoing = outgoing
        workers.expect({Kind.GRADIENT: codec.limit}, asked=[Kind.GRADIENT])

    def serve(self) -> bool:
        """Serves until the PS says QUIT or START (True), or is dead or silent for too long (False)."""
        self._session.wait(
            lambda: self.last is not None or PS in self._session.dead,
            self._peers.orders.append,
            silence=self._silence,
            then=self._work,
        )
        return self.last is not None

    def _work(self) -> bool:
        """Does what the PS has ordered, and takes what workers have sent."""
        came = self._workers.turn(self._deliver)
        did = False
        # What an update asks for may come before the order to update.
        while self.last is None and (order := self._peers.first(_OBEYED)) is not None:
            self._peers.orders.remove(order)
            self._obey(order)
            did = True
        late, self._peers.late = self._peers.late, {}
        for message in late.values():
            self._deliver(message)
        return came or did

    def _obey(self, order: Message) -> None:
        header = order.header
        assert header is not None
        if header.kind in _ENDS:
            self.last = order
        elif header.kind == Kind.BEGIN:
            state = unpacked(order.payload)
            self._secret = state["secret"]
            self._share.restore(state)
            self._done(header)
        elif header.kind == Kind.BEHIND:
            behind = [rank for rank in sorted(set(self._ranks)) if self._workers.sending(rank)]
            self._session.send([PS], header, np.array(behind, np.int32).tobytes())
        elif header.kind == Kind.STEP:
            self._begin_step(header.step, Routes.unpack(order.payload))
        elif header.kind == Kind.MISSING:
            if header.step == self._step:
                self._outgoing.send_again(header.worker, header.file)
        elif header.kind == Kind.FETCH:
            self._claims[header.worker, header.file] = bytes(order.payload)
            self._workers.ask(self._ranks[header.worker], header, Kind.GRADIENT, messages=self._codec.chunks)
            self._session.send([PS], Header(Kind.ASKED, header.step, header.worker, header.file))
        elif header.kind == Kind.UPDATE:
            self._update(**json.loads(bytes(order.payload)))
            self._done(header)
        elif header.kind == Kind.STATE:
            state = self._share.state()
            self._session.send([PS], header, packed(state if order.payload[0] else {"weights": state["weights"]}))

    def _begin_step(self, step: int, routes: Routes) -> None:
        self._workers.forget(step - 1)
        self._step = step
        self._claims.clear()
        self._chunks.clear()
        self._landings.clear()
        self._settled.clear()
        self._outgoing.send(step, routes, self._share.weights)

    def _claim_of(self, message: Message) -> bytes | None:
        """What was claimed of the share of a gradient that has come; None where it is none that was asked for."""
        header = message.header
        if header is None or header.kind != Kind.GRADIENT or header.step != self._step:
            return None
        claim = self._claims.get((header.worker, header.file))
        return None if claim is None or self._ranks[header.worker] != message.source else claim

    def _due(self, message: Message) -> bool:
        """Whether this is a chunk of a gradient that was asked for."""
        header = message.header
        return header is not None and header.chunk < self._codec.chunks and self._claim_of(message) is not None

    def _deliver(self, message: Message) -> None:
        """Takes a share of a gradient, and tells the PS what came of it."""
        header, claim = message.header, self._claim_of(message)
        if header is None or claim is None:
            return
        verdict, why = self._judge(header, message.payload, claim)
        if verdict is None:
            return
        del self._claims[header.worker, header.file]
        answer = Header(Kind.DELIVERED, header.step, header.worker, header.file)
        self._session.send([PS], answer, bytes([verdict]) + why.encode()[: REPORT_LIMIT - 1])

    def _judge(self, header: Header, payload: memoryview, claim: bytes) -> tuple[Verdict | None, str]:
        """What a share is of which a chunk has come, and why in words; None as long as others are missing.

        It is garbled, too, where the chunk came before, or there is none of that number: the PS hears of a share once.
        """
        worker, file = header.worker, header.file
        if file in self._settled:
            return Verdict.UNREAD, ""
        landing = self._landings.setdefault(file, Landing(self._rows[file]))
        chunks = self._chunks.setdefault((worker, file), Chunks(self._codec))
        place = landing.place(worker)
        try:
            chunks.note(header.chunk)
            chunks.decode(header.chunk, payload, place)
        except WireError as error:
            landing.forget(worker)
            return Verdict.GARBLED, str(error)
        if not chunks.whole:
            return None, ""
        landing.forget(worker)
        verdict = judge(place, claim)
        if verdict == Verdict.RIGHT:
            self._settled.add(file)
            landing.clear()
            landing.write(place)
        return verdict, ""

    def _update(self, kept: Sequence[int], f: int, settings: dict[str, Any]) -> None:
        votes = closed_up(self._rows, kept)
        aggregation = self._create_aggregation(f, self._secret)
        update, buffers = aggregation.aggregate(self._step, votes, 0, self._share)
        self._share.set_up(settings)
        aggregation.apply(votes, 0, update, buffers, self._share)

    def _done(self, header: Header) -> None:
        self._session.send([PS], Header(Kind.DONE, header.step), self._share.digest)
