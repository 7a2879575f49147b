"""The first rank of `detox-ps doctor`, under mpirun: measures all others."""

import platform
import signal
import time
from argparse import ArgumentParser
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detox.config import Config, ConfigError, override, read_config
from detox.launch import failure
from detox.launch.checkup import Check, Patient, of_bits, of_folder, of_memory, of_mpi, of_network, of_ranks
from detox.launch.environment import handle_signals
from detox.launch.ranks import dismiss, read_facts, send_start
from detox.launch.train import config_first
from detox.ps.model import GlobalModel
from detox.ps.selftest import StartError, check_answers, probe
from detox.ps.trial import try_out
from detox.tasks import Task, create_task
from detox.tasks.samples import Files
from detox.wire import PROBE, Codec, Header, Kind, Message, Pulse, Session, WireError, digest_of
from detox.worker.host import ECHO_LIMIT, available_memory

_PINGS = 20
_LOADS = 3
_PATIENCE = 30.0  # seconds for one answer
_POLL = 0.00005  # seconds; a sleep is part of what is measured


def examine(session: Session, argv: list[str]) -> tuple[int, bool]:
    """Measures, prints, and dismisses all ranks; returns the exit status, and whether all have said goodbye."""
    parser = ArgumentParser("detox-ps doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--lost", default="")
    parser.add_argument("--colour", action="store_true")
    handle_signals(signal.SIG_DFL)
    options, rest = parser.parse_known_args(argv)
    try:
        path, fields = config_first(rest)
        config = read_config(path, fields) if path else override(Config(), fields)
    except SystemExit as exit_:  # after --help, or what was wrong with an option, which has been said
        return exit_.code if isinstance(exit_.code, int) else failure.MISTAKE, dismiss(session)
    except ConfigError as error:
        failure.say(error)
        return failure.MISTAKE, dismiss(session)
    try:
        status = _examine(session, config, options.lost, options.colour)
    except BaseException as error:
        failure.say(error)
        status = failure.status_of(error)
    return status, dismiss(session)


def _examine(session: Session, config: Config, lost: str, colour: bool) -> int:
    checks = [of_mpi(session.channel.library.get("mpi", "none"), lost)]
    patients, model, own = _measure(session, _plain(config, len(session.peers)), checks, config.compares_bits)
    missing = sorted(set(session.peers) - {patient.rank for patient in patients})
    size = None if model is None else model.d + model.b
    checks += of_ranks(patients, missing, platform.node())
    checks += of_network(patients, 4 * (size or 0))
    checks += of_memory(patients, config, 4 * (size or 0), platform.node(), available_memory())
    d, exact = (0, 0) if model is None else (model.d, model.words)
    checks += of_folder(config, size) + of_bits(patients, own, config, d, exact)
    # mpirun gives each rank a terminal, whatever its own output is.
    console = Console(highlight=False, width=160, force_terminal=colour)
    console.print(_table(patients), "", sep="\n")
    for check in checks:
        console.print(f"[{check.level}]{check.level:6}[/] ", end="")
        console.print(f"{check.what}: {check.found}" + f"\n       {check.advice}" * bool(check.advice), markup=False)
    return int(any(check.level == "red" for check in checks))


def _plain(config: Config, ranks: int) -> Config:
    """The config's task and compute, with one honest worker per rank."""
    plain = Config()
    changes: dict[str, Any] = {"p": ranks, "q": 0, "r": 1, "worker_momentum": 0.0, "workers_per_rank": None}
    # The bits of a gradient depend on how many samples its file has.
    changes["batch_size"] = config.file_size
    changes |= {"fault": plain.fault, "attack": plain.attack, "data": plain.data, "compression": plain.compression}
    return config.model_copy(update=changes)


def _measure(
    session: Session, config: Config, checks: list[Check], bits: bool
) -> tuple[list[Patient], GlobalModel | None, bytes | None]:
    """All ranks that are ready; the PS's own model, and the digest of its probe. What fails on the way is a check."""
    ranks = list(session.peers)
    send_start(session, config, ranks)
    model = None
    try:
        task = create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)
        model, files = config.create_model(task), config.create_files(task)
    except BaseException as error:  # whatever a task raises, or sys.exit
        checks.append(Check("red", "data on the PS", failure.in_words(error)))
    if model is not None:
        checks += _try(task, model, files, bits)
    patients = _await_ready(session, config.transport.start_deadline)
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
        own = digest_of(model.compute(files.draw(1)[0], files.file_seed(1, 0)))
    except BaseException as error:  # whatever a task raises, or sys.exit
        found = str(error) if isinstance(error, StartError) else f"on the PS: {failure.in_words(error)}"
        checks.append(Check("red", "probe", found, "the task has to compute a gradient on every host"))
    return patients, model, own


def _try(task: Task, model: GlobalModel, files: Files, bits: bool) -> list[Check]:
    """The trial that a run begins with."""
    said: list[str] = []
    try:
        try_out(task, model, files, bits=bits, signs=False, warn=said.append)
    except BaseException as error:  # whatever a task raises, or sys.exit
        return [Check("red", "task", failure.in_words(error))]
    return [Check("yellow", "task", line) for line in said]


def _await_ready(session: Session, deadline: float) -> list[Patient]:
    found: dict[int, Patient] = {}

    def take(message: Message) -> None:
        if message.header is not None and message.header.kind == Kind.READY:
            try:
                facts = read_facts(message.source, bytes(message.payload))
            except StartError as error:
                facts = {"error": str(error)}
            if "loading" not in facts:
                found[message.source] = Patient(message.source, facts)

    session.wait(lambda: set(session.peers) <= session.dead | found.keys(), take, deadline=session.clock() + deadline)
    return [found[rank] for rank in sorted(found)]


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
    answer = _answer(session, rank, Header(Kind.FETCH, PROBE, worker), Kind.GRADIENT)
    gradient = np.empty(codec.size, np.float32)
    try:
        if answer is not None:
            codec.decode(answer, gradient)
    except WireError:
        return None
    return None if answer is None else gradient


def _answer(session: Session, rank: int, question: Header, kind: Kind, payload: bytes = b"") -> memoryview | None:
    """What a rank answers; None where it does not."""
    came: list[memoryview] = []

    def take(message: Message) -> None:
        if message.source == rank and message.header is not None and message.header.kind == kind:
            came.append(message.payload)

    session.send([rank], question, payload)
    session.wait(lambda: bool(came) or rank in session.dead, take, deadline=session.clock() + _PATIENCE)
    return came[0] if came else None


def _table(patients: list[Patient]) -> Table:
    """One row per rank; what a rank says of itself is text, not markup."""
    columns = ["rank", "host", "latency", "bandwidth", "clock", "memory", "torch", "instructions", "bits"]
    gpus = any(patient.facts.get("gpu") for patient in patients)
    out = Table(*columns, *["GPU"] * gpus)
    classes = list(dict.fromkeys(patient.digest for patient in patients if patient.digest is not None))
    for p in patients:
        out.add_row(
            str(p.rank),
            Text(p.host),
            "-" if p.latency is None else f"{1000 * p.latency:.2f} ms",
            "-" if p.bandwidth is None else f"{p.bandwidth / 1e6:.0f} MB/s",
            "-" if p.clock is None else f"{p.clock:+.3f} s",
            "-" if p.memory is None else f"{p.memory / 1e9:.1f} GB",
            Text(p.facts.get("torch", "-")),
            Text(p.facts.get("cpu_capability", "-")),
            "-" if p.digest is None else f"class {1 + classes.index(p.digest)}",
            *[Text(" ".join(p.facts.get(name, "-") for name in ("gpu_number", "gpu", "gpu_driver")))] * gpus,
        )
    return out
