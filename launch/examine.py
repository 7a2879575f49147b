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

from detox.launch import failure
from detox.launch.checkup import Check, Patient, of_bits, of_folder, of_memory, of_mpi, of_network, of_ranks
from detox.launch.config import Config, ConfigError, override, read_config
from detox.launch.environment import handle_signals
from detox.launch.ranks import dismiss, read_facts, send_start
from detox.launch.serve import create_codec, create_files, create_model
from detox.launch.train import config_first
from detox.ps.model import GlobalModel
from detox.ps.samples import Files
from detox.ps.selftest import StartError, check_answers, probe
from detox.ps.trial import try_out
from detox.tasks import Task, create_task
from detox.wire import PROBE, Codec, Header, Kind, Pulse, Session, WireError, digest_of
from detox.wire.transport import Transport, library
from detox.worker.host import ECHO_LIMIT, available_memory

_PINGS = 20
_LOADS = 3
_PATIENCE = 30.0  # seconds for one echo


def examine(transport: Transport, argv: list[str]) -> tuple[int, bool]:
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
        return exit_.code if isinstance(exit_.code, int) else failure.MISTAKE, dismiss(transport)
    except ConfigError as error:
        failure.say(error)
        return failure.MISTAKE, dismiss(transport)
    try:
        status = _examine(transport, config, options.lost, options.colour)
    except BaseException as error:
        failure.say(error)
        status = failure.status_of(error)
    return status, dismiss(transport)


def _examine(transport: Transport, config: Config, lost: str, colour: bool) -> int:
    checks = [of_mpi(library()["mpi"], lost)]
    patients, model, own = _measure(transport, _plain(config, len(transport.peers)), checks, config.compares_bits)
    missing = sorted(set(transport.peers) - {patient.rank for patient in patients})
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
    """The config's task and compute, with one honest worker a rank."""
    plain = Config()
    changes: dict[str, Any] = {"p": ranks, "q": 0, "r": 1, "worker_momentum": 0.0, "workers_per_rank": None}
    # The bits of a gradient depend on how many samples its file has.
    changes["batch_size"] = config.r * config.batch_size
    changes |= {"fault": plain.fault, "attack": plain.attack, "data": plain.data, "compression": plain.compression}
    return config.model_copy(update=changes)


def _measure(
    transport: Transport, config: Config, checks: list[Check], bits: bool
) -> tuple[list[Patient], GlobalModel | None, bytes | None]:
    """All ranks that are ready; the PS's own model, and the digest of its probe. What fails on the way is a check."""
    ranks, poll = list(transport.peers), config.transport.poll
    transport.limits[Kind.ECHO] = ECHO_LIMIT + Pulse.BYTES
    send_start(transport, config, ranks)
    model = None
    try:
        task = create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)
        model, files = create_model(config, task), create_files(config, task)
    except BaseException as error:  # whatever a task raises, or sys.exit
        checks.append(Check("red", "data on the PS", failure.in_words(error)))
    if model is not None:
        checks += _try(task, model, files, bits)
    patients = _await_ready(transport, config)
    well = [patient for patient in patients if "error" not in patient.facts]
    for patient in well:
        _ping(transport, patient, poll)
    if model is None:
        return patients, None, None
    answering = [patient for patient in well if patient.latency is not None]
    answered = [patient.rank for patient in answering]
    digests = probe(Session(transport, poll), answered, model, files, config.transport.start_deadline)
    for worker, patient in enumerate(answering):
        patient.digest = digests.get(worker)
    for digest in set(digests.values()):
        worker = min(w for w in digests if digests[w] == digest)
        answering[worker].gradient = _fetch(transport, answered[worker], worker, create_codec(config, model), poll)
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


def _await_ready(transport: Transport, config: Config) -> list[Patient]:
    found: dict[int, Patient] = {}
    end = time.monotonic() + config.transport.start_deadline
    while set(transport.peers) - transport.dead - found.keys() and time.monotonic() < end:
        for message in transport.receive():
            if message.header is not None and message.header.kind == Kind.READY:
                try:
                    facts = read_facts(message.source, bytes(message.payload))
                except StartError as error:
                    facts = {"error": str(error)}
                if "loading" in facts:
                    continue
                found[message.source] = Patient(message.source, facts)
        time.sleep(config.transport.poll)
    return [found[rank] for rank in sorted(found)]


def _ping(transport: Transport, patient: Patient, poll: float) -> None:
    """Round trips of nothing, then of megabytes; the quickest tells the clock."""
    trips = []
    for size in (0,) * _PINGS + (ECHO_LIMIT,) * _LOADS:
        begin, clock = time.monotonic(), time.time()
        pulse = _echo(transport, patient.rank, bytes(size), poll)
        if pulse is None:
            return
        seconds = time.monotonic() - begin
        trips.append((seconds, pulse.clock - (clock + seconds / 2), pulse))
    patient.latency = median(seconds for seconds, _, _ in trips[:_PINGS]) / 2
    patient.clock = min(trips[:_PINGS], key=lambda trip: trip[0])[1]
    patient.memory = trips[0][2].memory
    patient.bandwidth = 2 * ECHO_LIMIT / min(seconds for seconds, _, _ in trips[_PINGS:])


def _echo(transport: Transport, rank: int, payload: bytes, poll: float) -> Pulse | None:
    """Sends bytes there and back; None where they did not come back."""
    transport.send([rank], Header(Kind.ECHO), payload)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and rank not in transport.dead:
        for message in transport.receive():
            if message.source == rank and message.header is not None and message.header.kind == Kind.ECHO:
                try:
                    return Pulse.unpack(message.payload)
                except WireError:
                    return None
        time.sleep(0 if payload else poll / 10)
    return None


def _fetch(transport: Transport, rank: int, worker: int, codec: Codec, poll: float) -> np.ndarray | None:
    """The worker's gradient of the probe; None where it does not come."""
    transport.limits[Kind.GRADIENT] = codec.limit
    transport.send([rank], Header(Kind.FETCH, PROBE, worker))
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and rank not in transport.dead:
        for message in transport.receive():
            if message.source == rank and message.header is not None and message.header.kind == Kind.GRADIENT:
                gradient = np.empty(codec.size, np.float32)
                try:
                    codec.decode(message.payload, gradient)
                except WireError:
                    return None
                return gradient
        time.sleep(poll)
    return None


def _table(patients: list[Patient]) -> Table:
    """One row a rank; what a rank says of itself is text, not markup."""
    out = Table("rank", "host", "latency", "bandwidth", "clock", "memory", "torch", "instructions", "bits")
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
        )
    return out
