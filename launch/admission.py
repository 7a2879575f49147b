"""Ranks that come by themselves, at any time: each is started, loads, passes the self-test, and then takes part."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress

from detox.config import Config
from detox.errors.words import counted
from detox.launch.guest import Guest, Stage
from detox.launch.ranks import READY_LIMIT, read_facts, start_message
from detox.ps.events import Event, EventKind
from detox.ps.model import GlobalModel
from detox.ps.selftest import StartError, probe_work
from detox.ps.servers import RESUMES, LostServerError
from detox.tasks.samples import Files
from detox.wire import DIGEST_BYTES, LIFE_BYTES, PROBE, Header, Kind, Message, Session, WireError
from detox.wire.directory import SAID_LIMIT, Directory, Talk, heard

_GRACE = 5.0  # seconds for the others, once enough have come


class Admission:
    """The session's door: it says who takes part, and takes in whoever comes, before the first step or later.

    A rank that comes again in the same life of its process goes on where it was; in another it begins anew. What it
    says is believed of nobody but itself, and nobody is waited for but at the start.

    Args:
        session: the conversation with the ranks; its door is this from now on.
        config: of the run.
        ranks: rank of each worker.
        model: its weights are those of the self-test, now.
        files: one file of the first step is its work.
        addresses: by rank, where it came from, as the channel knows.
        keys: fingerprint of each rank's key.

    Attributes:
        limits, outside, absent: see detox.wire.Door.
        least, patience, away: see detox.ps.attendance.Attendance.
        hosts: host of each rank that has taken part.
        digests: by worker, of the self-test, of those that passed it.
        apart: ranks that pass on nothing: that others do not reach, or are only being told how to.
    """

    limits: Mapping[Kind, int] = {
        Kind.JOIN: LIFE_BYTES,
        Kind.READY: READY_LIMIT,
        Kind.CLAIM: DIGEST_BYTES,
        Kind.PEERS: SAID_LIMIT,
    }

    def __init__(
        self,
        session: Session,
        config: Config,
        ranks: Sequence[int],
        model: GlobalModel,
        files: Files,
        addresses: Mapping[int, str],
        keys: Mapping[int, str],
    ) -> None:
        self._workers: dict[int, list[int]] = {rank: [] for rank in range(1, config.servers)}
        for worker, rank in enumerate(ranks):
            self._workers.setdefault(rank, []).append(worker)
        self.outside: set[int] = set(self._workers)
        self.absent: set[int] = set(self._workers)
        self.least = config.transport.p_min or 1
        self.patience = config.transport.silence
        self.away: dict[int, str] = {}
        self.hosts: dict[int, str] = {}
        self.digests: dict[int, bytes] = {}
        self.apart: set[int] = set(ranks)
        self._session = session
        self._addresses = addresses
        self._directory = Directory(addresses)
        self._keys = keys
        self._starts = {rank: start_message(config, list(ranks), rank=rank) for rank in self._workers}
        self._weights = bytes(model.weights.data.cast("B"))
        self._work = probe_work(model, files)
        self._compares = config.compares_bits
        self._guests: dict[int, Guest] = {}
        self._by_class = config.groups_within == "class"
        self._references: dict[int, bytes] | None = None  # by worker, the answer that is right; None: not known yet
        self._news: dict[tuple[int, EventKind], str] = {}
        self._absence = config.transport.absence
        self._since: dict[int, float] = {}  # when a rank was first found to be lost
        session.door = self
        session.expect({})

    @property
    def missing(self) -> frozenset[int]:
        """Workers that have never taken part."""
        return frozenset(worker for rank in self.absent for worker in self._workers[rank])

    def take(self, message: Message) -> bool:
        """Takes what comes of ranks outside, and word that a rank is here."""
        rank, header = message.source, message.header
        if header is not None and header.kind == Kind.JOIN:
            self._meet(rank, bytes(message.payload))
            return True
        guest = self._guests.get(rank)
        if rank not in self.outside or guest is None:
            return rank in self.outside
        if header is not None and header.kind == Kind.READY and guest.stage == Stage.LOADS:
            self._hear(rank, guest, bytes(message.payload))
        elif header == Header(Kind.PEERS):
            self._enter(rank, guest, message.payload)
        elif header == Header(Kind.CLAIM, PROBE, 0 if header is None else header.worker):
            self._compare(rank, guest, header.worker, bytes(message.payload))
        return True

    def _meet(self, rank: int, life: bytes) -> None:
        """A rank is here, on a new connection."""
        guest = self._guests.get(rank)
        if rank not in self.outside and not self._workers[rank]:
            raise LostServerError(f"server {rank} was cut off, and what was under way is lost; {RESUMES}")
        if guest is not None and guest.life == life and rank not in self.outside:
            self._tell(rank, EventKind.JOINED, f"is back, from {self._addresses.get(rank, '')}")
        elif not self._session.sending(rank):  # or it asks faster than it listens
            self.outside.add(rank)
            self._guests[rank] = Guest(life)
            self._directory.enter(rank, {})  # where it listened in another life
            self._session.channel.send([rank], Header(Kind.START), self._starts[rank])

    def _hear(self, rank: int, guest: Guest, payload: bytes) -> None:
        """How far a rank is with loading; when it is done, the self-test begins."""
        try:
            facts = read_facts(rank, payload)
        except StartError:
            facts = {"error": "it is ready for something else"}
        if "error" in facts:
            self._refuse(rank, guest, facts["error"])
        elif "loading" not in facts:
            guest.facts, guest.stage = facts, Stage.COMPUTES
            send = self._session.channel.send
            if self._workers[rank]:
                send([rank], Header(Kind.WEIGHTS, PROBE), self._weights)
            for worker in self._workers[rank]:
                send([rank], Header(Kind.WORK, PROBE, worker), self._work)

    def _enter(self, rank: int, guest: Guest, payload: memoryview) -> None:
        """Where a rank listens; a further server, which computes nothing, takes part from then on."""
        with suppress(WireError):
            self._directory.enter(rank, heard(payload))
            if not self._workers[rank] and guest.stage == Stage.COMPUTES:
                guest.stage = Stage.PASSED

    def _compare(self, rank: int, guest: Guest, worker: int, digest: bytes) -> None:
        """A worker's answer to the self-test."""
        if worker in self._workers[rank] and guest.stage == Stage.COMPUTES:
            guest.digests[worker] = digest if self._compares else b""
            if len(guest.digests) == len(self._workers[rank]):
                guest.stage = Stage.PASSED
                if self._references is not None:
                    self._decide(rank, guest)

    def _decide(self, rank: int, guest: Guest) -> None:
        """Lets a rank take part whose answers are what the others' were, or with classes its own at the start."""
        assert self._references is not None
        if guest.digests.items() - self._references.items():
            than = "at the start" if self._by_class else "the others"
            self._refuse(rank, guest, f"computes other bits than {than} in the self-test")
            return
        self.outside.discard(rank)
        self.absent.discard(rank)
        self.hosts[rank] = self._addresses.get(rank, "")
        self.digests.update(guest.digests)
        says = " ".join(guest.facts.get(name, "") for name in ("host", "machine", "cpu_capability", "gpu")).strip()
        self._tell(rank, EventKind.JOINED, f"key {self._keys[rank]}, from {self.hosts[rank]}, and says it is {says}")

    def _refuse(self, rank: int, guest: Guest, why: str) -> None:
        if not self._workers[rank]:
            raise StartError(f"server {rank}: {why}")
        guest.stage, guest.refused = Stage.REFUSED, why
        self._tell(rank, EventKind.LEFT_OUT, why)

    def _tell(self, rank: int, kind: EventKind, why: str) -> None:
        """Of many news of a kind of one rank, the last."""
        self._news[rank, kind] = why

    def news(self, step: int) -> list[Event]:
        """Who has come or was left out since this was asked last; from now on `away` is who is away now."""
        now, lost = self._session.clock(), self._session.lost
        self._since = {rank: self._since.get(rank, now) for rank in sorted(lost)}
        self.away = {
            worker: f"has been away for {now - since:.0f} s"
            for rank, since in sorted(self._since.items(), key=lambda item: item[1])
            if now - since >= self._absence
            for worker in self._workers[rank]
        }
        told, self._news = self._news, {}
        self._introduce({rank for rank, kind in told if kind == EventKind.JOINED})
        return [
            Event(kind, step, worker, detail=why)
            for (rank, kind), why in sorted(told.items())
            for worker in self._workers[rank]
        ]

    def _introduce(self, came: Set[int]) -> None:
        """Tells all that take part where the others listen, if some have come."""
        ranks = sorted(self._workers.keys() - self.outside)
        if came and (addresses := self._directory.tell(ranks)):
            self._session.send(ranks, Header(Kind.PEERS), addresses)
        near = self._directory.parties(ranks, Talk.NEAR)
        self.apart.clear()
        self.apart.update(self._workers.keys() - near.keys() | came)

    def gather(self, enough: int, deadline: float, say: Callable[[str], object]) -> None:
        """Waits until so many workers have passed the self-test with equal bits, or any where these make classes, and
        all servers are here; then a moment for the others.

        Args:
            enough: workers.
            deadline: seconds.
            say: told who is waited for, every few seconds.

        Raises:
            StartError: too few have come, or a server has not or cannot load.
        """
        clock = self._session.clock
        end, next_ = clock() + deadline, clock() + _GRACE

        def alike() -> tuple[bytes, int]:
            digests = [digest for guest in self._guests.values() for digest in guest.digests.values()]
            if self._by_class:
                return b"", len(digests)
            counts = Counter(digests)
            return max(counts.items(), key=lambda item: item[1], default=(b"", 0))

        def tell() -> bool:
            nonlocal next_
            if clock() > next_:
                next_ = clock() + 6 * _GRACE
                say(f"{alike()[1]} workers of at least {enough} are here; waiting for {self._awaited()}")
            return False

        def settled() -> bool:
            return all(guest.stage == Stage.PASSED for guest in self._guests.values()) and not self._awaited()

        def complete() -> bool:
            return alike()[1] >= enough and all(
                workers or self._passed(rank) for rank, workers in self._workers.items()
            )

        if not self._session.wait(complete, lambda _: None, deadline=end, then=tell):
            equal = "" if self._by_class else " with equal bits"
            raise StartError(
                f"{alike()[1]} of at least {counted(enough, 'worker')} have passed the self-test{equal} "
                f"within transport.start_deadline = {deadline:g} s; {self._awaited()}"
            )
        self._session.wait(settled, lambda _: None, deadline=min(end, clock() + _GRACE))
        found = {worker: digest for guest in self._guests.values() for worker, digest in guest.digests.items()}
        everyone = (worker for workers in self._workers.values() for worker in workers)
        self._references = found if self._by_class else dict.fromkeys(everyone, alike()[0])
        for rank in self._workers:
            if self._passed(rank):
                self._decide(rank, self._guests[rank])
            else:
                self._tell(rank, EventKind.LEFT_OUT, self._how_far(rank))

    def _passed(self, rank: int) -> bool:
        return rank in self._guests and self._guests[rank].stage == Stage.PASSED

    def _how_far(self, rank: int) -> str:
        return self._guests[rank].in_words if rank in self._guests else "has not come"

    def _awaited(self) -> str:
        """The workers that have not passed the self-test, and servers that are not here, and how far they are."""
        found: dict[str, list[str]] = {}
        for rank, workers in self._workers.items():
            if not self._passed(rank):
                found.setdefault(self._how_far(rank), []).extend(
                    [str(worker) for worker in workers] or [f"server {rank}"]
                )
        return "; ".join(f"{', '.join(names)}: {why}" for why, names in found.items())
