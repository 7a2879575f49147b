"""Every rank but the first: loads data and model, and hosts its workers until the PS says that it is over."""

import json
import platform
from collections.abc import Callable, Iterable
from typing import Protocol

from detox.aggregators import shares
from detox.config import Config, ConfigError
from detox.config.adversary import create_adversary
from detox.launch import failure
from detox.launch.environment import end_start, fingerprint
from detox.launch.further import START_LIMIT, create_server
from detox.launch.over_tcp import DIAL_LIMIT, dial
from detox.launch.room import room_for_rank
from detox.ps.further import FurtherServer
from detox.tasks import FlatModel, Task
from detox.wire import BYE_LIMIT, Header, Kind, Message, Session, Work
from detox.wire.evidence import Question
from detox.worker.memory import available_memory
from detox.worker.momentum import Momentum
from detox.worker.rank import ECHO_LIMIT, PS, WorkerRank
from detox.worker.relay import Relay
from detox.worker.servers import Servers

_MOMENT = 0.5  # seconds for the last words of a rank that dies
_PATIENCE = 600.0  # seconds until a rank leaves that was never told what to do


class Reach(Protocol):
    """How a rank reaches others that are not the PS."""

    def near(self, peers: Iterable[int]) -> Session:
        """This rank's conversation with these ranks, under the numbers that they have everywhere."""

    def among(self, first: int) -> Session:
        """The conversation of all ranks from a first one on, numbered from 0 there; all of them call it."""

    def hang_up(self) -> None:
        """Ends these conversations, as far as that is possible."""


def work(session: Session, rank: int, abort: Callable[[], None], reach: Reach | None = None) -> tuple[int, bool]:
    """The life of a rank of workers: START, READY, serving, as often as it is started, and goodbye.

    Args:
        session: the conversation with the PS.
        rank: this rank, 1 or more; START may tell another.
        abort: ends this rank the way that MPI has for it.
        reach: of other ranks; None: it reaches none.

    Returns:
        The exit status, and whether the PS said that it was over, so that MPI can be ended.
    """
    try:
        return 0, _run(session, rank, abort, reach)
    except BaseException as error:
        if failure.status_of(error) == failure.MISTAKE:
            session.send([PS], Header(Kind.BYE), failure.in_words(error).encode()[:BYE_LIMIT])
            # What has come from a rank that is dead is lost, so this one lives until the PS has surely read it.
            session.wait(lambda: PS in session.dead, lambda message: None, deadline=session.clock() + _MOMENT)
        raise


def _run(session: Session, rank: int, abort: Callable[[], None], reach: Reach | None) -> bool:
    session.expect({Kind.START: START_LIMIT, Kind.QUIT: 0, Kind.DIAL: DIAL_LIMIT})
    order = _await(session, Kind.START, Kind.QUIT, Kind.DIAL)
    if order is not None and order.header is not None and order.header.kind == Kind.DIAL:
        reach = dial(session, bytes(order.payload))
        session.expect({Kind.START: START_LIMIT, Kind.QUIT: 0})
        order = _await(session, Kind.START, Kind.QUIT)
    channel, loaded = session.channel, None
    while order is not None and order.header is not None and order.header.kind == Kind.START:
        start = bytes(order.payload)
        _ready(session, loading=1)
        try:
            if loaded is None or loaded[0] != start:
                told = json.loads(start)
                config, rank = Config(**told["config"]), told.get("rank", rank)
                _check_reach(config, reach)
                loaded = (start, told, config, *_load(config, rank, told["ranks"]))
                end_start()
        except BaseException as error:
            _ready(session, error=failure.in_words(error))
            loaded = None
            order = _await(session, Kind.QUIT, Kind.START)
        else:
            _, told, config, task, model = loaded
            _ready(session, **fingerprint(model.device))
            session.channel = channel  # without the faults of the last time
            if reach is not None:
                reach.hang_up()
            host: WorkerRank | FurtherServer
            if rank < config.servers:
                assert reach is not None
                host = create_server(session, rank, config, told["ranks"], task, model, reach.near)
            else:
                host = _create_worker_rank(session, rank, config, told["ranks"], task, model, abort, reach)
            host.serve()
            order = host.last
    if order is None:
        return False
    session.send([PS], Header(Kind.BYE))
    session.wait(lambda: not session.sending(PS), lambda message: None)
    return True


def _check_reach(config: Config, reach: Reach | None) -> None:
    if config.colludes and reach is None:
        raise ConfigError(
            f"attack.kind = {config.attack.kind}, attack.when = {config.attack.when}: colluding workers talk to each "
            "other, and this one cannot be reached: detox-ps join --listen HOST:PORT"
        )


def _ready(session: Session, **facts: str | int) -> None:
    """Tells the PS where this rank is, and how far it has come."""
    told = {"host": platform.node(), **facts}
    session.send([PS], Header(Kind.READY), json.dumps(told).encode())


def _warn(text: str) -> None:
    failure.say(f"warning: {text}")


def _load(config: Config, rank: int, ranks: list[int]) -> tuple[Task, FlatModel]:
    admitted = room_for_rank(config, rank, ranks, available=available_memory(), warn=_warn)
    task = config.create_task()
    model = FlatModel.build(task, config.seed, config.computing, admitted)
    shares(model.d, model.b, config.servers)  # which says so where it is too small
    return task, model


def _create_worker_rank(
    session: Session,
    rank: int,
    config: Config,
    ranks: list[int],
    task: Task,
    model: FlatModel,
    abort: Callable[[], None],
    reach: Reach | None,
) -> WorkerRank:
    size = model.d + model.b
    shared = shares(model.d, model.b, config.servers)
    codecs = [config.compression.create(share.d, share.b) for share in shared]
    session.poll = config.transport.poll
    session.channel = config.fault.create_channel(session.channel, codecs, rank, ranks, abort)
    corruptor = config.fault.create_corruptor(rank, ranks)
    work = Work.limit(config.file_size)
    relay = servers = None
    if reach is not None and config.transport.relays(len(set(ranks)), size, config.servers):
        near = reach.near(sorted(set(ranks) - {rank}))
        near.channel = config.fault.create_relay_channel(near.channel, session, rank, ranks)
        relay = Relay(session, near, rank, [share.end - share.begin for share in shared], config.transport.deadline)
    limits = {} if relay is None else relay.limits
    if reach is not None and config.servers > 1:
        others = reach.near(range(1, config.servers))
        others.channel = config.fault.create_channel(others.channel, codecs, rank, ranks, abort)
        servers = Servers(session, others, shared, codecs)
        others.expect({**limits, **servers.limits})
    limits = {**limits, Kind.WEIGHTS: 4 * size, Kind.WORK: work, Kind.FETCH: 0, Kind.EXAMINE: Question.limit(size)}
    session.expect({**limits, Kind.START: START_LIMIT, Kind.ECHO: ECHO_LIMIT, Kind.QUIT: 0})
    adversary = None
    if config.q:
        colluders = None
        if config.colludes and reach is not None:
            # All workers' ranks make this conversation together: after READY, which names who does not come.
            colluders = reach.among(config.servers)
            colluders.expect({Kind.COLLUDE: 4 * size})
        adversary = create_adversary(config, ranks, rank, colluders, model.d, model.b)
    return WorkerRank(
        session,
        task,
        model,
        config.compression.create(model.d, model.b),
        adversary,
        momentum=Momentum(config.worker_momentum, model.d) if config.worker_momentum else None,
        corrupt=corruptor.corrupt if corruptor else None,
        share_compute=config.share_compute,
        silence=config.transport.silence,
        relay=relay,
        servers=servers,
    )


def _await(session: Session, *kinds: Kind) -> Message | None:
    """The last message of these kinds that has come; None where the PS has nothing to say for too long, or is dead."""
    came: list[Message] = []

    def take(message: Message) -> None:
        if message.header is not None and message.header.kind in kinds:
            came.append(message)

    session.wait(lambda: bool(came or session.dead), take, deadline=session.clock() + _PATIENCE)
    return came[-1] if came else None  # QUIT may have come together with START
