"""The ranks of workers, as the PS sees them before and after a training: told to start, ready, dismissed."""

import json
import platform
from collections.abc import Iterable

from detox.config import Config, ConfigError
from detox.errors.words import named
from detox.launch.environment import all_here
from detox.launch.further import START_LIMIT
from detox.ps.selftest import StartError
from detox.tasks import TaskError
from detox.wire import Header, Kind, Message, Session, printable

READY_LIMIT = 2**16  # bytes
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


def send_start(session: Session, config: Config, ranks: list[int]) -> None:
    """Sends START to all ranks; raises ConfigError where it is too long."""
    start = start_message(config, ranks)
    session.expect({Kind.READY: READY_LIMIT})
    session.send(session.peers, Header(Kind.START), start)


def await_ready(session: Session, deadline: float) -> dict[int, dict[str, str]]:
    """Rank -> what decides the bits there, once all ranks have loaded data and model.

    Args:
        session: the conversation with the ranks, which have been sent START.
        deadline: seconds, transport.start_deadline.

    Raises:
        TaskError: a rank could not.
        StartError: a rank died, or took too long.
    """
    ready: dict[int, dict[str, str]] = {}
    hosts = local_hosts(session.peers)

    def take(message: Message) -> None:
        if message.header is None or message.header.kind != Kind.READY:
            return
        facts = read_facts(message.source, bytes(message.payload))
        hosts[message.source] = facts["host"]
        if "error" in facts:
            raise TaskError(f"{named([message.source], hosts)}: {facts['error']}")
        if "loading" not in facts:
            ready[message.source] = facts

    def missing() -> list[int]:
        return [rank for rank in session.peers if rank not in ready]

    session.wait(
        lambda: not missing() or bool(session.dead & set(missing())), take, deadline=session.clock() + deadline
    )
    if died := sorted(session.dead & set(missing())):
        raise StartError(f"{named(died, hosts)} died while data and model were loaded")
    if missing():
        raise StartError(
            f"{named(missing(), hosts)} had not loaded data and model within transport.start_deadline = {deadline:g} s"
        )
    return ready


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
        if isinstance(facts, dict) and all(isinstance(value, str | int) for value in facts.values()):
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
