"""The further servers, as the PS sees them: what it tells them, and what it waits for of them."""

import io
import json
from collections.abc import Callable, Iterable, Sequence, Set
from typing import Any

import numpy as np
import torch

from detox.aggregators import Share
from detox.aggregators.arrays import Floats
from detox.assignment import Edge
from detox.errors import JobError
from detox.ps.ballots import Verdict
from detox.wire import DIGEST_BYTES, ENDLESS, Header, Kind, Message, Session, digest_of, printable
from detox.wire.slices import Routes

REPORT_LIMIT = 2**10  # bytes of a DELIVERED
RESUMES = "the same command resumes the run from its checkpoint"


class LostServerError(JobError):
    """A further server is gone, and with it its share of the run."""


class Servers:
    """The conversation with servers 1..S-1, which are the ranks of these numbers; the PS itself is server 0.

    Each owns a share of weights, optimizer state and votes, and does with it what the PS does with its own, when it is
    told to; what a sum takes of all of them, it is asked for (`gather`). They are trusted, and known to answer.

    Args:
        session: the conversation with all ranks.
        shares: of all servers, the PS's first.
        silence: seconds without a word from a server that is to answer, after which it is lost.

    Attributes:
        shares: as given.
        begin, width: the PS's first column, and those of all; see Owners.
        others: is given what comes of other ranks while a server is waited for.
    """

    begin = 0

    def __init__(self, session: Session, shares: Sequence[Share], silence: float) -> None:
        self.shares = tuple(shares)
        self.width = shares[0].trained
        self.others: Callable[[Message], object] = lambda _: None
        self._session = session
        self._silence = silence
        self._due: dict[int, float] = {}  # servers that are to answer, and have said nothing since then
        self._ranks = range(1, len(shares))
        self._step = 0
        self._came: dict[int, Message] = {}
        self._confirmed: list[Message] = []
        self._reports: list[Message] = []
        self._digests = [b""] * len(shares)

    @property
    def limits(self) -> dict[Kind, int]:
        """What they answer, and the most bytes of it."""
        return {
            Kind.ASKED: 0,
            Kind.DELIVERED: REPORT_LIMIT,
            Kind.PART: ENDLESS,
            Kind.DONE: DIGEST_BYTES,
            Kind.BEHIND: ENDLESS,
            Kind.STATE: ENDLESS,
        }

    def take(self, message: Message) -> bool:
        """Takes a message of a server; whether it is of one."""
        if message.source not in self._ranks:
            return False
        if message.header is None:
            raise LostServerError(f"server {message.source} sent something else: {message.fault}")
        self._due.pop(message.source, None)
        if message.header.kind == Kind.ASKED:
            self._confirmed.append(message)
        elif message.header.kind == Kind.DELIVERED:
            self._reports.append(message)
        else:
            self._came[message.source] = message
        return True

    def begin_run(self, states: Sequence[dict[str, Any]], secret: int) -> None:
        """Gives each its share, and what it may know of secrets; waits until all have it.

        Args:
            states: of all shares, see OwnShare.state.
            secret: seed of the shuffle of the votes.
        """
        for rank in self._ranks:
            self._ask([rank], Kind.BEGIN, Kind.DONE, packed({"secret": secret, **states[rank]}))
        self._await_done()

    @property
    def widths(self) -> list[int]:
        """Entries that each server owns, the PS first."""
        return [share.end - share.begin for share in self.shares]

    def digest(self, own: bytes) -> bytes:
        """What names the weights as they are now, from the digest of the PS's own."""
        return digest_of_all([own, *self._digests[1:]])

    def ask_behind(self) -> set[int]:
        """Ranks that have not taken all that a server has sent them."""
        self._ask(self._ranks, Kind.BEHIND, Kind.BEHIND)
        return {
            rank for message in self._await(Kind.BEHIND) for rank in np.frombuffer(message.payload, np.int32).tolist()
        }

    def send_weights(self, step: int, routes: Routes) -> None:
        """Has them send their weights."""
        self._step = step
        self._session.send(self._ranks, Header(Kind.STEP, step), routes.pack())

    def send_again(self, server: int, rank: int, index: int) -> None:
        """Has a server send a slice of its weights again, to a rank that it did not come to."""
        self._session.send([server], Header(Kind.MISSING, self._step, rank, index))

    def fetch(self, step: int, asked: Iterable[tuple[Edge, int, bytes]]) -> None:
        """Has a server fetch its share of what a worker has claimed for a file, and compare it with its digest."""
        for (worker, file), server, digest in asked:
            question = Header(Kind.FETCH, step, worker, file)
            self._session.ask(server, question, Kind.DELIVERED, digest)
            self._session.admit(server, question, Kind.ASKED)
            self._due.setdefault(server, self._session.clock())

    def confirmed(self, step: int) -> list[tuple[int, Edge]]:
        """For which workers and files servers have passed that on, since this was called last.

        Raises:
            LostServerError: a server is gone.
        """
        self._check()
        found, self._confirmed = self._confirmed, []
        return [
            (message.source, (message.header.worker, message.header.file))
            for message in found
            if message.header is not None and message.header.step == step
        ]

    def reports(self, step: int) -> list[tuple[int, Edge, Verdict, str]]:
        """What came of that since this was called last: the server, the edge, its verdict, and why in words."""
        found, self._reports = self._reports, []
        return [
            (
                message.source,
                (message.header.worker, message.header.file),
                Verdict(message.payload[0]),
                printable(bytes(message.payload[1:]).decode(errors="replace")),
            )
            for message in found
            if message.header is not None and message.header.step == step
        ]

    def update(self, kept: Sequence[int], f: int, settings: dict[str, Any]) -> None:
        """Has them aggregate the votes on these files, of which f may be bad, and make the optimizer's step.

        What their sums take, the PS gathers (`gather`) while it does the same; then `await_update` returns.
        """
        told = json.dumps({"kept": list(kept), "f": f, "settings": settings}).encode()
        self._ask(self._ranks, Kind.UPDATE, Kind.DONE, told)

    def await_update(self) -> None:
        """Waits until all have made the step."""
        self._await_done()

    def gather(self, part: Floats) -> Floats:
        """The PS's part, then those of the others; all get the same."""
        self._ask(self._ranks, Kind.PART, Kind.PART)
        parts = [part] + [
            np.frombuffer(message.payload).reshape(-1, *part.shape[1:]) for message in self._await(Kind.PART)
        ]
        whole = np.concatenate(parts)
        self._session.send(self._ranks, Header(Kind.SUM, self._step), whole.data.cast("B"))
        return whole

    def states(self, *, whole: bool) -> list[dict[str, Any]]:
        """The shares of servers 1..S-1 as they are now, see OwnShare.state; the weights alone, unless `whole`."""
        self._ask(self._ranks, Kind.STATE, Kind.STATE, bytes([whole]))
        return [unpacked(message.payload) for message in self._await(Kind.STATE)]

    def _ask(self, ranks: Iterable[int], kind: Kind, answer: Kind, payload: bytes = b"") -> None:
        for rank in ranks:
            self._session.ask(rank, Header(kind, self._step), answer, payload)
            self._due.setdefault(rank, self._session.clock())

    def _await_done(self) -> None:
        for message in self._await(Kind.DONE):
            self._digests[message.source] = bytes(message.payload)

    def _await(self, kind: Kind) -> list[Message]:
        """The answers of all servers, in their order."""
        self._due = dict.fromkeys(self._ranks, self._session.clock())  # the PS may have been busy itself

        def take(message: Message) -> None:
            if not self.take(message):
                self.others(message)

        def here() -> bool:
            for rank in self._ranks:
                if rank not in self._came:  # what it has said was something else
                    self._due.setdefault(rank, self._session.clock())
            self._check()
            return len(self._came) == len(self._ranks)

        self._session.wait(here, take)
        found, self._came = [self._came[rank] for rank in self._ranks], {}
        wrong = [m.source for m in found if m.header is None or m.header.kind != kind]
        if wrong:
            raise LostServerError(f"server {wrong[0]} answered something else than {kind.name}")
        return found

    def _check(self) -> None:
        dead: Set[int] = self._session.dead & set(self._ranks)
        if dead:
            raise LostServerError(f"server {min(dead)} is lost; {RESUMES}")
        now = self._session.clock()
        mute = [rank for rank, since in self._due.items() if now - since > self._silence]
        if mute:
            raise LostServerError(
                f"server {min(mute)} has not answered for {self._silence:g} s (transport.silence); {RESUMES}"
            )


def digest_of_all(digests: Sequence[bytes]) -> bytes:
    """What names weights that several servers have between them: of one, its digest; else BLAKE3 of all."""
    return digests[0] if len(digests) == 1 else digest_of(np.frombuffer(b"".join(digests), np.uint8))


def packed(state: dict[str, Any]) -> bytes:
    """Tensors, numbers and words in torch's format."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def unpacked(payload: bytes | memoryview) -> dict[str, Any]:
    """The inverse of packed; takes nothing but tensors, numbers and words."""
    state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
    return state
