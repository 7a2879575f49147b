"""What the doctor asks of every rank, under mpirun: data, round trips, and one gradient."""

import time
from contextlib import suppress
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from detox.config import Config
from detox.launch import failure
from detox.launch.checkup import Check
from detox.launch.environment import end_start
from detox.launch.patients import Patient
from detox.launch.ranks import read_facts, send_start
from detox.ps.model import GlobalModel
from detox.ps.selftest import StartError, check_answers, probe
from detox.ps.trial import try_out
from detox.tasks import Task
from detox.tasks.samples import Files
from detox.wire import PROBE, Chunks, Codec, Header, Kind, Message, Pulse, Session, WireError, claim_of
from detox.worker.rank import ECHO_LIMIT

_PINGS = 20
_LOADS = 3
_PATIENCE = 30.0  # seconds for one answer
_POLL = 0.00005  # seconds; a sleep is part of what is measured


def plain(config: Config, ranks: int) -> Config:
    """The config's task and compute, with one honest worker per rank."""
    plain = Config()
    changes: dict[str, Any] = {
        "p": ranks,
        "q": 0,
        "r": 1,
        "worker_momentum": 0.0,
        "workers_per_rank": None,
        "servers": 1,
    }
    # The bits of a gradient depend on how many samples its file has.
    changes["batch_size"] = config.file_size
    changes |= {"fault": plain.fault, "attack": plain.attack, "data": plain.data, "compression": plain.compression}
    return config.model_copy(update=changes)


def measure(
    session: Session, config: Config, checks: list[Check], bits: bool
) -> tuple[list[Patient], GlobalModel | None, bytes | None]:
    """Waits for all ranks, and measures them.

    Args:
        session: the conversation with all of them, which have not been started.
        config: with one worker per rank, see plain.
        checks: what fails on the way is added here.
        bits: whether the run will compare bits, see try_out.

    Returns:
        The ranks that are ready, the PS's own model, and the digest of its probe; None: there is none.
    """
    ranks = list(session.peers)
    loaded: dict[int, Patient] = {}
    take = partial(_admit, loaded)
    send_start(session, config, ranks, take)
    model = None
    try:
        task = config.create_task()
        model, files = config.create_model(task), config.create_files(task)
    except BaseException as error:  # whatever a task raises, or sys.exit
        checks.append(Check("red", "data on the PS", failure.in_words(error)))
    if model is not None:
        checks += _try(task, model, files, bits)
    end_start()
    deadline = session.clock() + config.transport.start_deadline
    session.wait(lambda: set(session.peers) <= session.dead | loaded.keys(), take, deadline=deadline)
    patients = [loaded[rank] for rank in sorted(loaded)]
    well = [patient for patient in patients if "error" not in patient.facts]
    session.expect({Kind.ECHO: ECHO_LIMIT + Pulse.BYTES})
    session.poll = _POLL
    for patient in well:
        _ping(session, patient)
    if model is None:
        return patients, None, None
    answering = [patient for patient in well if patient.latency is not None]
    answered = [patient.rank for patient in answering]
    digests = probe(session, answered, model, files, config.transport.start_deadline)
    for worker, patient in enumerate(answering):
        patient.digest = digests.get(worker)
    codec = config.compression.create(model.d, model.b)
    session.expect({Kind.GRADIENT: codec.limit})
    for digest in set(digests.values()):
        worker = min(w for w in digests if digests[w] == digest)
        answering[worker].gradient = _fetch(session, answered[worker], worker, codec)
    own = None
    try:
        check_answers(digests, answered)
        own = claim_of(model.compute(files.draw(1)[0], files.file_seed(1, 0)))
    except BaseException as error:  # whatever a task raises, or sys.exit
        why = str(error) if isinstance(error, StartError) else f"on the PS: {failure.in_words(error)}"
        checks.append(Check("red", "probe", why, "the task has to compute a gradient on every host"))
    return patients, model, own


def _try(task: Task, model: GlobalModel, files: Files, bits: bool) -> list[Check]:
    """The trial that a run begins with."""
    said: list[str] = []
    try:
        try_out(task, model, files, bits=bits, signs=False, warn=said.append)
    except BaseException as error:  # whatever a task raises, or sys.exit
        return [Check("red", "task", failure.in_words(error))]
    return [Check("yellow", "task", line) for line in said]


def _admit(loaded: dict[int, Patient], message: Message) -> None:
    """Notes a rank that has loaded, or could not."""
    if message.header is not None and message.header.kind == Kind.READY:
        try:
            facts = read_facts(message.source, bytes(message.payload))
        except StartError as error:
            facts = {"error": str(error)}
        if "loading" not in facts:
            loaded[message.source] = Patient(message.source, facts)


def _ping(session: Session, patient: Patient) -> None:
    """Round trips of nothing, then of megabytes; the quickest tells the clock."""
    trips = []
    for size in (0,) * _PINGS + (ECHO_LIMIT,) * _LOADS:
        begin, clock = time.monotonic(), time.time()
        echo = _answer(session, patient.rank, Header(Kind.ECHO), Kind.ECHO, bytes(size))
        try:
            pulse = None if echo is None else Pulse.unpack(echo)
        except WireError:
            pulse = None
        if pulse is None:
            return
        seconds = time.monotonic() - begin
        trips.append((seconds, pulse.clock - (clock + seconds / 2), pulse))
    patient.latency = median(seconds for seconds, _, _ in trips[:_PINGS]) / 2
    patient.clock = min(trips[:_PINGS], key=lambda trip: trip[0])[1]
    patient.memory = trips[0][2].memory
    patient.bandwidth = 2 * ECHO_LIMIT / min(seconds for seconds, _, _ in trips[_PINGS:])


def _fetch(session: Session, rank: int, worker: int, codec: Codec) -> np.ndarray | None:
    """The worker's gradient of the probe; None where it does not come."""
    gradient, chunks = np.empty(codec.size, np.float32), Chunks(codec)

    def take(message: Message) -> None:
        header = message.header
        if message.source == rank and header is not None and header.kind == Kind.GRADIENT:
            with suppress(WireError):
                chunks.note(header.chunk)
                chunks.decode(header.chunk, message.payload, gradient)

    def over() -> bool:
        return chunks.whole or rank in session.dead

    session.send([rank], Header(Kind.FETCH, PROBE, worker))
    session.wait(over, take, deadline=session.clock() + _PATIENCE)
    return gradient if chunks.whole and not chunks.garbled else None


def _answer(session: Session, rank: int, question: Header, kind: Kind, payload: bytes = b"") -> memoryview | None:
    """What a rank answers; None where it does not."""
    came: list[memoryview] = []

    def take(message: Message) -> None:
        if message.source == rank and message.header is not None and message.header.kind == kind:
            came.append(message.payload)

    session.send([rank], question, payload)
    session.wait(lambda: bool(came) or rank in session.dead, take, deadline=session.clock() + _PATIENCE)
    return came[0] if came else None
