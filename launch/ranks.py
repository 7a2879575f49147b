"""The ranks of workers, as the PS sees them before and after a training: told to start, ready, dismissed."""

import json
import platform
from collections.abc import Callable, Iterable

from detox.config import Config, ConfigError
from detox.errors.words import named
from detox.launch.environment import all_here
from detox.launch.further import START_LIMIT
from detox.ps.selftest import StartError
from detox.tasks import TaskError
from detox.wire import Header, Kind, Message, Session, printable

READY_LIMIT = 2**16  # bytes
_FACTS = 32  # a rank's own are a dozen; each costs more to take than to send
_TAKEN = 5.0  # seconds for all ranks to take START, of which some may still begin
_GOODBYE = 2.0  # seconds for all ranks to leave, of which some may still load their data


def start_message(config: Config, ranks: list[int], **more: int) -> bytes:
    """The payload of START: the config, without what only the PS may know.

    Args:
        config: of the run.
        ranks: rank of each worker.
        more: what the one rank is told beside it.

    Raises:
        ConfigError: it is too long.
    """
    public = config.model_dump(mode="json", exclude={"secret_seed"})
    start = json.dumps({"config": public, "ranks": ranks, **more}).encode()
    if len(start) > START_LIMIT:
        raise ConfigError(f"config and ranks of the workers take {len(start)} bytes, at most {START_LIMIT} can be sent")
    return start


def send_start(session: Session, config: Config, ranks: list[int], take: Callable[[Message], object]) -> None:
    """Tells all ranks to start, and waits until they have taken it, for nothing is sent while the PS loads its data.

    Args:
        session: the conversation with the ranks.
        config: of the run.
        ranks: rank of each worker.
        take: is given what they say meanwhile.

    Raises:
        ConfigError: the message is too long.
    """
    start = start_message(config, ranks)
    session.expect({Kind.READY: READY_LIMIT})
    session.send(session.peers, Header(Kind.START), start)

    def taken() -> bool:
        return not any(session.sending(rank) for rank in session.peers if rank not in session.dead)

    session.wait(taken, take, deadline=session.clock() + _TAKEN)


class Readiness:
    """What the ranks that have been sent START say until each has loaded data and model.

    Args:
        session: the conversation with them.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._hosts = local_hosts(session.peers)
        self._ready: dict[int, dict[str, str]] = {}

    def take(self, message: Message) -> None:
        """Notes what a rank says.

        Raises:
            TaskError: it could not load.
            StartError: it says something else.
        """
        if message.header is None or message.header.kind != Kind.READY:
            return
        facts = read_facts(message.source, bytes(message.payload))
        self._hosts[message.source] = facts["host"]
        if "error" in facts:
            raise TaskError(f"{named([message.source], self._hosts)}: {facts['error']}")
        if "loading" not in facts:
            self._ready[message.source] = facts

    def wait(self, deadline: float) -> dict[int, dict[str, str]]:
        """Rank -> what decides the bits there, once all have loaded.

        Args:
            deadline: seconds, transport.start_deadline.

        Raises:
            TaskError: a rank could not.
            StartError: a rank died, or took too long.
        """
        session = self._session

        def missing() -> set[int]:
            return set(session.peers) - self._ready.keys()

        session.wait(
            lambda: not missing() or bool(session.dead & missing()), self.take, deadline=session.clock() + deadline
        )
        if died := session.dead & missing():
            raise StartError(f"{named(sorted(died), self._hosts)} died while data and model were loaded")
        if missing():
            raise StartError(
                f"{named(sorted(missing()), self._hosts)} had not loaded data and model within "
                f"transport.start_deadline = {deadline:g} s"
            )
        return self._ready


def local_hosts(peers: Iterable[int]) -> dict[int, str]:
    """The host of each rank where that is known before the rank has said it: where Open MPI has put all on this one."""
    return dict.fromkeys(peers, platform.node()) if all_here() else {}


def read_facts(rank: int, payload: bytes) -> dict[str, str]:
    """The JSON of a READY: names with words or numbers, the host among them.

    Raises:
        StartError: it is something else.
    """
    try:
        facts = json.loads(payload)
        if (
            isinstance(facts, dict)
            and len(facts) <= _FACTS
            and all(isinstance(value, str | int) for value in facts.values())
        ):
            return {"host": "", **{printable(name): printable(value) for name, value in facts.items()}}
    except (ValueError, RecursionError):
        pass
    raise StartError(f"rank {rank} is ready for something else: {payload[:80]!r}")


def dismiss(session: Session) -> bool:
    """Tells all ranks to leave; whether every one of them, the dead included, has said goodbye in time."""
    session.door = None  # those outside are to leave too
    session.expect({Kind.BYE: 0})
    session.send(session.peers, Header(Kind.QUIT))
    waiting = set(session.peers)

    def take(message: Message) -> None:
        if message.header is not None and message.header.kind == Kind.BYE:
            waiting.discard(message.source)

    session.wait(lambda: waiting <= session.dead, take, deadline=session.clock() + _GOODBYE)
    return not waiting
