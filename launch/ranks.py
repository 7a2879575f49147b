"""The ranks of workers, as the PS sees them before and after a training: told to start, ready, dismissed."""

import json
import os
import platform
import time

from detox.launch.config import Config, ConfigError
from detox.launch.work import START_LIMIT
from detox.ps.selftest import StartError, named
from detox.tasks import TaskError
from detox.wire import Header, Kind
from detox.wire.transport import Transport

_JSON_LIMIT = 2**16
_GOODBYE = 2.0  # seconds for all ranks to leave, of which some may still load their data


def send_start(transport: Transport, config: Config, ranks: list[int]) -> None:
    """Sends the config, without what only the PS may know, to all ranks.

    Raises:
        ConfigError: it is too long.
    """
    public = config.model_dump(mode="json", exclude={"secret_seed"})
    start = json.dumps({"config": public, "ranks": ranks}).encode()
    if len(start) > START_LIMIT:
        raise ConfigError(f"config and ranks of the workers take {len(start)} bytes, at most {START_LIMIT} can be sent")
    transport.limits[Kind.READY] = _JSON_LIMIT
    transport.send(transport.peers, Header(Kind.START), start)


def await_ready(transport: Transport, config: Config) -> dict[int, dict[str, str]]:
    """Rank -> what decides the bits there, once all ranks have loaded data and model.

    Raises:
        TaskError: a rank could not.
        StartError: a rank died, or took too long.
    """
    ready: dict[int, dict[str, str]] = {}
    hosts = local_hosts(transport)
    end = time.monotonic() + config.transport.start_deadline
    while len(ready) < len(transport.peers):
        for message in transport.receive():
            if message.header is None or message.header.kind != Kind.READY:
                continue
            facts = read_facts(message.source, bytes(message.payload))
            hosts[message.source] = facts["host"]
            if "error" in facts:
                raise TaskError(f"{named([message.source], hosts)}: {facts['error']}")
            if "loading" not in facts:
                ready[message.source] = facts
        missing = [rank for rank in transport.peers if rank not in ready]
        if died := sorted(transport.dead & set(missing)):
            raise StartError(f"{named(died, hosts)} died while data and model were loaded")
        if missing and time.monotonic() > end:
            raise StartError(
                f"{named(missing, hosts)} had not loaded data and model within transport.start_deadline = "
                f"{config.transport.start_deadline:g} s"
            )
        time.sleep(config.transport.poll)
    return ready


def local_hosts(transport: Transport) -> dict[int, str]:
    """The host of each rank where that is known before the rank has said it: where Open MPI has put all on this one."""
    size = os.environ.get("OMPI_COMM_WORLD_SIZE")
    one = size is not None and os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == size
    return dict.fromkeys(transport.peers, platform.node()) if one else {}


def read_facts(rank: int, payload: bytes) -> dict[str, str]:
    """The JSON of a READY: names with words or numbers, the host among them."""
    try:
        facts = json.loads(payload)
        if isinstance(facts, dict) and all(isinstance(value, str | int) for value in facts.values()):
            return {"host": "", **{_printable(name): _printable(value) for name, value in facts.items()}}
    except (ValueError, RecursionError):
        pass
    raise StartError(f"rank {rank} is ready for something else: {payload[:80]!r}")


def _printable(value: str | int) -> str:
    """What a rank says of itself goes to terminals and files: plain characters, and not many."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in str(value)[:500])


def dismiss(transport: Transport) -> bool:
    """Tells all ranks to leave; whether every one of them has said goodbye in time."""
    transport.limits[Kind.BYE] = 0
    transport.send(transport.peers, Header(Kind.QUIT))
    waiting = set(transport.peers)
    end = time.monotonic() + _GOODBYE
    while waiting - transport.dead and time.monotonic() < end:
        for message in transport.receive():
            if message.header is not None and message.header.kind == Kind.BYE:
                waiting.discard(message.source)
        time.sleep(0.001)
    return not waiting
