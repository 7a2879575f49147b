"""What comes from the workers' ranks: each message goes to the round that it is about, or becomes an event."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from detox.ps.attendance import Attendance
from detox.ps.broadcast import Broadcast
from detox.ps.events import Event, EventKind
from detox.ps.forensics import Forensics
from detox.ps.round import Round
from detox.ps.servers import Servers
from detox.ps.step import ServerError
from detox.tasks import TaskError
from detox.wire import Kind, Message, Session, printable


class Inbox:
    """The rounds that are still open, the newest last, and the ranks that answer them.

    Args:
        session: the conversation with the workers' ranks.
        ranks: rank of each worker.
        tell: is given the events that come of messages.
        forensics: takes EVIDENCE.
        broadcast: takes MISSING.
        servers: the further servers; None: there are none.
    """

    def __init__(
        self,
        session: Session,
        ranks: Sequence[int],
        tell: Callable[[Iterable[Event]], None],
        forensics: Forensics,
        broadcast: Broadcast,
        servers: Servers | None = None,
    ) -> None:
        self._last_words: dict[int, str] = {}  # what ranks said when they left
        self._session = session
        self._ranks = ranks
        self._tell = tell
        self._forensics = forensics
        self._broadcast = broadcast
        self._servers = servers
        self._open: deque[Round] = deque()
        self._dead: frozenset[int] = frozenset()
        self._given_up = -1  # a step, whose claims count for nothing

    @property
    def gone(self) -> frozenset[int]:
        """Workers on ranks that have died, or take no part."""
        return self._on(self._session.dead)

    def _on(self, ranks: frozenset[int]) -> frozenset[int]:
        return frozenset(worker for worker, rank in enumerate(self._ranks) if rank in ranks) if ranks else frozenset()

    @property
    def rounds(self) -> Sequence[Round]:
        """The open rounds, the newest last."""
        return self._open

    def await_workers(self, step: int, attendance: Attendance, stopping: Callable[[], bool]) -> None:
        """Waits before a step until enough workers are there, where they may come back.

        Raises:
            ServerError: they do not.
            TaskError: none is there, and each has said that it dies of the task's code.
        """

        def enough() -> bool:
            return stopping() or len(self._ranks) - len(self.gone) >= attendance.least

        # What comes meanwhile is about steps that are over.
        if not enough() and not (
            attendance.patience
            and self._session.wait(enough, lambda _: None, deadline=self._session.clock() + attendance.patience)
        ):
            raise self._too_few(step, attendance.least)

    def _too_few(self, step: int, least: int) -> ServerError | TaskError:
        if here := len(self._ranks) - len(self.gone):
            return ServerError(f"before step {step} only {here} of at least {least} workers are there")
        said = f"all ranks with workers are lost, before step {step}"
        if not self._last_words.keys() >= set(self._ranks):
            return ServerError(said)
        rank, why = min(self._last_words.items())
        return TaskError(f"{said}; rank {rank}: {why}")

    def open(self, round_: Round) -> None:
        """Messages about this round's step go to it from now on."""
        self._open.append(round_)

    def give_up(self) -> None:
        """The newest round is as if it had never begun."""
        self._given_up = self._open.pop().step

    def close(self, keep: int) -> Iterator[Round]:
        """Closes all but the newest rounds, and yields them, the oldest first: what comes for them is late."""
        while len(self._open) > keep:
            round_ = self._open.popleft()
            self._tell(round_.close())
            if self._open:
                # What stragglers were asked for in the newest step may still come, and is then late, not uncalled for.
                self._session.forget(round_.step)
            yield round_

    def note_deaths(self, step: int) -> None:
        """Tells of the workers that have died since it was called last."""
        gone = self._on(self._session.lost)
        details = {worker: f"rank {self._ranks[worker]} is lost" for worker in sorted(gone - self._dead)}
        self._tell(Event(EventKind.DEAD, step, worker, detail=detail) for worker, detail in details.items())
        self._dead = gone

    def take(self, message: Message) -> None:
        """Hands a message to the round that it belongs to."""
        header = message.header
        if self._servers is not None and self._servers.take(message):
            return
        if header is not None and header.kind == Kind.BYE and message.payload:
            self._last_words.setdefault(message.source, printable(bytes(message.payload).decode(errors="replace")))
        elif self._open:  # or a server is waited for between two steps, and what others say is about none
            self._tell(self._events(message))

    def _events(self, message: Message) -> list[Event]:
        header, newest = message.header, self._open[-1].step
        if header is None:
            return [_from_rank(newest, message.source, message.fault)]
        if header.kind == Kind.MISSING:
            return self._broadcast.answer(message)
        if header.kind not in (Kind.CLAIM, Kind.GRADIENT, Kind.EVIDENCE, Kind.COMPUTED):
            return [_from_rank(newest, message.source, f"{header.kind.name} has no place here")]
        if header.worker >= len(self._ranks) or self._ranks[header.worker] != message.source:
            detail = f"spoke for worker {header.worker}, which is not on this rank"
            return [_from_rank(newest, message.source, detail)]
        if header.kind == Kind.COMPUTED and header.step <= newest:
            about = [round_ for round_ in self._open if round_.step == header.step]
            return about[0].computed(header, message.payload) if about else []
        for round_ in self._open:
            if round_.step == header.step and header.kind == Kind.EVIDENCE:
                return round_.remember(self._forensics.take(header, message.payload))
            if round_.step == header.step:
                events = round_.take(header, message.payload, self._session.clock())
                if any(event.kind == EventKind.MALFORMED for event in events) or not round_.answered(header):
                    return events
                return [Event(EventKind.HEARD, header.step, header.worker, header.file), *events]
        if header.step == self._given_up:
            return []
        asked_aside = {Kind.EVIDENCE} if self._open[-1].ballots.direct else {Kind.EVIDENCE, Kind.GRADIENT}
        if header.step < newest and header.kind in asked_aside:
            return []  # nothing waited for it: another one has delivered, or the vote stands
        detail = f"{header.kind.name} for step {header.step}"
        if header.step < newest:
            return [Event(EventKind.LATE, newest, header.worker, detail=detail)]
        return [Event(EventKind.MALFORMED, newest, header.worker, detail=f"{detail}, which has not begun")]


def _from_rank(step: int, rank: int, detail: str) -> Event:
    """A message that cannot be pinned on one worker of the rank that sent it."""
    return Event(EventKind.MALFORMED, step, None, detail=detail, rank=rank)
