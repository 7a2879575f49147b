"""Every rank but the first: loads data and model, and hosts its workers until the PS says that it is over."""

import json
import platform
import signal

from detox.config import Config
from detox.config.adversary import create_adversary
from detox.launch import failure
from detox.launch.environment import fingerprint, handle_signals
from detox.tasks import FlatModel, Task, create_task
from detox.wire import BYE_LIMIT, Header, Kind, Message, Session, Work
from detox.wire.transport import Transport, abort, workers
from detox.worker.host import ECHO_LIMIT, PS, WorkerRank
from detox.worker.momentum import Momentum

START_LIMIT = 2**26  # bytes
_MOMENT = 0.5  # seconds for the last words of a rank that dies
_PATIENCE = 600.0  # seconds until a rank leaves that was never told what to do


def work(session: Session, rank: int) -> tuple[int, bool]:
    """The life of a rank of workers: START, READY, serving, goodbye.

    Args:
        session: the conversation with the PS.
        rank: this rank, 1 or more.

    Returns:
        The exit status, and whether the PS said that it was over, so that MPI can be ended.
    """
    handle_signals(signal.SIG_IGN)  # they are for the PS, which then tells its workers to leave
    try:
        return 0, _run(session, rank)
    except BaseException as error:
        if failure.status_of(error) == failure.MISTAKE:
            session.send([PS], Header(Kind.BYE), failure.in_words(error).encode()[:BYE_LIMIT])
            # What has come from a rank that is dead is lost, so this one lives until the PS has surely read it.
            session.wait(lambda: PS in session.dead, lambda message: None, deadline=session.clock() + _MOMENT)
        raise


def _run(session: Session, rank: int) -> bool:
    session.expect({Kind.START: START_LIMIT, Kind.QUIT: 0})
    start = _await(session, Kind.START, Kind.QUIT)
    if start is None:
        return False
    if start.header is not None and start.header.kind == Kind.START:
        told = json.loads(bytes(start.payload))
        _ready(session, loading=1)
        try:
            config = Config(**told["config"])
            task, model = _load(config)
        except BaseException as error:
            _ready(session, error=failure.in_words(error))
            _await(session, Kind.QUIT)
        else:
            _ready(session, **fingerprint(model.weights.device))
            if not _create_worker_rank(session, rank, config, told["ranks"], task, model).serve():
                return False
    session.send([PS], Header(Kind.BYE))
    session.wait(lambda: not session.sending(PS), lambda message: None)
    return True


def _ready(session: Session, **facts: str | int) -> None:
    """Tells the PS where this rank is, and how far it has come."""
    told = {"host": platform.node(), **facts}
    session.send([PS], Header(Kind.READY), json.dumps(told).encode())


def _load(config: Config) -> tuple[Task, FlatModel]:
    task = create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)
    return task, FlatModel.build(task, config.seed)


def _create_worker_rank(
    session: Session, rank: int, config: Config, ranks: list[int], task: Task, model: FlatModel
) -> WorkerRank:
    size = model.d + model.b
    codec = config.compression.create(model.d, model.b)
    faults = config.fault.create(session.channel, codec, rank, ranks, abort)
    session = Session(session.channel if faults is None else faults, config.transport.poll)
    work = Work.limit(config.file_size)
    session.expect({Kind.WEIGHTS: 4 * size, Kind.WORK: work, Kind.FETCH: 0, Kind.ECHO: ECHO_LIMIT, Kind.QUIT: 0})
    return WorkerRank(
        session,
        task,
        model,
        codec,
        # All workers' ranks make the communicator of the fellows together: after READY, which names who does not come.
        create_adversary(config, ranks, rank, _fellows(size), model.d) if config.q else None,
        momentum=Momentum(config.worker_momentum, model.d) if config.worker_momentum else None,
        corrupt=faults.corrupt if faults else None,
        share_compute=config.share_compute,
        silence=config.transport.silence,
    )


def _fellows(size: int) -> Session:
    """The conversation of the workers' ranks, one less each, on a communicator that the PS has no part in."""
    comm = workers()
    fellows = Session(Transport(comm, [peer for peer in range(comm.size) if peer != comm.rank]))
    fellows.expect({Kind.COLLUDE: 4 * size})
    return fellows


def _await(session: Session, *kinds: Kind) -> Message | None:
    """The first message of one of these kinds; None where the PS has nothing to say for too long, or is dead."""
    came: list[Message] = []

    def take(message: Message) -> None:
        if message.header is not None and message.header.kind in kinds:
            came.append(message)

    session.wait(lambda: bool(came or session.dead), take, deadline=session.clock() + _PATIENCE)
    return came[0] if came else None
