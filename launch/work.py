"""Every rank but the first: loads data and model, and hosts its workers until the PS says that it is over."""

import json
import platform
import signal
import time

from detox.launch import failure
from detox.launch.config import Config
from detox.launch.environment import fingerprint, handle_signals
from detox.launch.placement import create_adversary
from detox.tasks import FlatModel, Task, create_task
from detox.wire import Codec, Header, Kind, Message, Session, Work
from detox.wire.transport import Transport, abort, workers
from detox.worker.faults import Faults
from detox.worker.host import ECHO_LIMIT, Host
from detox.worker.momentum import Momentum

START_LIMIT = 2**26  # bytes
_PATIENCE = 600.0  # seconds until a rank leaves that was never told what to do


def work(transport: Transport, rank: int) -> tuple[int, bool]:
    """The life of a worker's rank; returns the exit status, and whether it ended as it should."""
    handle_signals(signal.SIG_IGN)  # they are for the PS, which then tells its workers to leave
    return 0, _run(transport, rank)


def _run(transport: Transport, rank: int) -> bool:
    start = _await_start(transport)
    if start is None:
        return False
    if start.header is not None and start.header.kind == Kind.START:
        told = json.loads(bytes(start.payload))
        _ready(transport, loading=1)
        try:
            config = Config(**told["config"])
            task, model = _load(config)
        except BaseException as error:
            _ready(transport, error=failure.in_words(error))
            _await(transport, Kind.QUIT)
        else:
            _ready(transport, **fingerprint())
            if not _create_host(transport, rank, config, told["ranks"], task, model).serve():
                return False
    transport.send([0], Header(Kind.BYE))
    while transport.sending(0):
        time.sleep(0.001)
    return True


def _ready(transport: Transport, **facts: str | int) -> None:
    """Tells the PS where this rank is, and how far it has come."""
    told = {"host": platform.node(), **facts}
    transport.send([0], Header(Kind.READY), json.dumps(told).encode())


def _load(config: Config) -> tuple[Task, FlatModel]:
    task = create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)
    return task, FlatModel.build(task, config.seed)


def _create_host(
    transport: Transport, rank: int, config: Config, ranks: list[int], task: Task, model: FlatModel
) -> Host:
    size = model.d + model.b
    transport.limits[Kind.WEIGHTS] = 4 * size
    transport.limits[Kind.WORK] = Work.limit(config.r * config.batch_size)
    transport.limits[Kind.FETCH] = 0
    transport.limits[Kind.ECHO] = ECHO_LIMIT
    codec = config.compression.create(model.d, model.b)
    faults = create_faults(transport, codec, rank, config, ranks)
    return Host(
        Session(faults or transport, config.transport.poll),
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


def create_faults(transport: Transport, codec: Codec, rank: int, config: Config, ranks: list[int]) -> Faults | None:
    """The faults that the config injects into workers of this rank; None where it has none."""
    section = config.fault
    kinds = section.kind * len(section.worker) if len(section.kind) == 1 else section.kind
    own = {worker: kind for worker, kind in zip(section.worker, kinds, strict=True) if ranks[worker] == rank}
    if not own:
        return None
    return Faults(
        transport,
        codec,
        own,
        others=next((worker for worker, other in enumerate(ranks) if other != rank), config.p),
        first=section.first,
        last=section.last,
        every=section.every,
        seconds=section.seconds,
        abort=abort,
    )


def _fellows(size: int) -> Transport:
    """Messages between the workers' ranks, one less each, on a communicator that the PS has no part in."""
    comm = workers()
    fellows = Transport(comm, [peer for peer in range(comm.size) if peer != comm.rank])
    fellows.limits[Kind.COLLUDE] = 4 * size
    return fellows


def _await_start(transport: Transport) -> Message | None:
    """START, or QUIT where there is nothing to do; None where the PS has nothing to say for too long."""
    transport.limits[Kind.START] = START_LIMIT
    transport.limits[Kind.QUIT] = 0
    return _await(transport, Kind.START, Kind.QUIT)


def _await(transport: Transport, *kinds: Kind) -> Message | None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and not transport.dead:
        for message in transport.receive():
            if message.header is not None and message.header.kind in kinds:
                return message
        time.sleep(0.005)
    return None
