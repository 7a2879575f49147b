"""Rank 0: reads the config, starts the workers' ranks, trains, and keeps the run folder."""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from detox.aggregators import AggregatorError
from detox.launch.config import Config, ConfigError, known_secret, secret_seed
from detox.launch.console import Reporter, adversary_in_words, summary_lines
from detox.launch.provenance import ChangedError, changes, check, facts_of, in_words, place_of, workers_of
from detox.launch.run import Run
from detox.launch.scores import EvaluationError
from detox.launch.train import Options, parse
from detox.ps.aggregation import Aggregation
from detox.ps.folder import CheckpointError, RunFolder, Status
from detox.ps.ledger import Ledger
from detox.ps.lock import LockedError
from detox.ps.model import GlobalModel
from detox.ps.samples import Files
from detox.ps.selftest import StartError, check_answers, check_own_bits, classes_of, probe, unequal
from detox.ps.server import Server, ServerError
from detox.ps.shards import cut
from detox.ps.trial import try_out
from detox.tasks import Task, TaskError, create_task
from detox.wire import Codec, Header, Kind, Session
from detox.wire.transport import Transport

INTERRUPTED = 3
"""Exit status of a run that a signal ended; its checkpoint is written."""
_JSON_LIMIT = 2**16


class Interruption(BaseException):
    """A signal came before the training did."""


def serve(transport: Transport, argv: list[str]) -> tuple[int, bool]:
    """The PS's life; returns the exit status, and whether all ranks have said goodbye."""
    status = 1
    try:
        status = _serve(transport, argv)
    except (ConfigError, TaskError) as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        status = 2
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else 2
    return status, dismiss(transport)


def _serve(transport: Transport, argv: list[str]) -> int:
    config, options = parse(argv)
    ranks = assign_ranks(config, len(transport.peers))
    folder = RunFolder(config.folder, config.checkpoints_kept)
    try:
        if options.resume and folder.done and (told := _told(folder)):
            _check_finished(config, options.accept, len(transport.peers) + 1, folder)
            print("\n".join(["already finished:", *told]))
            return 0
        with folder.held(_say):
            return _run(transport, config, options, ranks, folder)
    except (ChangedError, LockedError) as error:
        _say(str(error))
        return 2
    except OSError as error:
        _say(_lost(folder, error))
        return 1


def _told(folder: RunFolder) -> list[str]:
    """The summary of a finished run in words; empty where it is damaged, and has to be made again."""
    try:
        return summary_lines(folder.summary(), str(folder.path))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        _say(f"the summary of {folder.path} cannot be read, and is made again")
        return []


def _check_finished(config: Config, accept: bool, ranks: int, folder: RunFolder) -> None:
    """Raises ChangedError where a finished run was made with something else, and that is not accepted."""
    try:
        task = create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)
    except TaskError as error:
        if not accept:
            raise ChangedError(
                f"the run in {folder.path} has finished, but whether it would be the same now cannot be told: {error}; "
                "--accept-changes takes it as it is"
            ) from None
        return
    facts = facts_of(config, task) | place_of(config, ranks)
    if accept and changes(folder, facts):
        with folder.held(_say):
            check(folder, facts, accept, _say)
    elif not accept and (found := changes(folder, facts)):
        raise ChangedError(in_words(folder, found))


def _run(transport: Transport, config: Config, options: Options, ranks: list[int], folder: RunFolder) -> int:
    """The training, and how it ended; the folder is this job's alone."""
    try:
        folder.bring_back()  # what a job that was killed at its start had set aside
        if not options.resume:
            folder.start_over()
        folder.create(config.toml())
        folder.write_status("running")
        finished = _train(transport, config, options, ranks, folder)
    except (ConfigError, TaskError) as error:
        _end(folder, "failed", str(error))
        raise
    except (StartError, ServerError, CheckpointError, EvaluationError) as error:
        _say(str(error))
        _end(folder, "failed", str(error), again=isinstance(error, StartError | ServerError))
        return 1
    except ChangedError as error:
        _end(folder, "failed", str(error))
        raise
    except OSError as error:
        _end(folder, "failed", _lost(folder, error))
        raise
    except Interruption:
        finished = False
    except Exception as error:
        _end(folder, "failed", f"{type(error).__name__}: {error}")
        raise
    if not finished:
        _end(folder, "interrupted", "told to end by a signal")
        return INTERRUPTED
    return 0


def _say(text: str) -> None:
    print(f"detox-ps: {text}", file=sys.stderr, flush=True)


def _end(folder: RunFolder, status: Status, why: str, again: bool = False) -> None:
    """Says how the run stands, where the folder can still be written."""
    with contextlib.suppress(OSError):
        folder.end(status, why, again)


def _lost(folder: RunFolder, error: OSError) -> str:
    """What the disk refuses, in words."""
    if not folder.path.is_dir():
        return f"the run's folder {folder.path} is gone"
    if error.strerror is None:
        return str(error)
    return f"{error.filename or folder.path}: {error.strerror}"


def _train(transport: Transport, config: Config, options: Options, ranks: list[int], folder: RunFolder) -> bool:
    """The whole run; False where a signal ended it."""
    _on_signals(_interrupt)
    reporter = Reporter(options.progress, config.steps)
    task = _start(transport, config, ranks)
    check(folder, facts_of(config, task) | place_of(config, len(transport.peers) + 1), options.accept, reporter.warn)
    model = create_model(config, task)
    files = create_files(config, task)
    bits = config.r > 1 and config.vote != "tolerance"
    try_out(task, model, files, bits=bits, signs=config.compression.kind == "sign", warn=reporter.warn)
    fingerprints = _await_ready(transport, config)
    check(folder, workers_of(fingerprints), options.accept, reporter.warn)
    session = Session(transport, config.transport.poll)
    digests = probe(session, ranks, model, files, config.transport.start_deadline)
    check_answers(digests, ranks)
    for line in unequal(digests, ranks, fingerprints):
        reporter.warn(line)
    classes = classes_of(digests) if config.groups_within == "class" else ()
    if classes:
        reporter.say(check_classes(config, classes))
    if config.recomputes:
        check_own_bits(digests, ranks, model, files)
    hosts = {rank: str(facts.get("host", "")) for rank, facts in fingerprints.items()}
    buffers = f" and {model.b} buffers" if model.b else ""
    reporter.say(
        f"{config.task}: d = {model.d} parameters{buffers}; p = {config.p} workers in {config.votes} groups of "
        f"r = {config.r}, {adversary_in_words(config)}; {len(set(ranks))} ranks on {len(set(hosts.values()))} hosts"
    )
    if config.share_compute:
        reporter.say("share_compute: workers of one rank that hold the same file compute it once")
    checkpoint = folder.load_checkpoint(reporter.warn)
    ledger = Ledger(folder.ledger, ranks, hosts)
    secret = folder.keep_secret(lambda: secret_seed(config), known_secret(config))
    scheme = config.create_scheme(secret, classes)
    server = Server(
        session,
        ranks,
        model,
        create_codec(config, model),
        files=files,
        scheme=scheme,
        create_ballot=config.create_ballot(model.d, model.words),
        aggregation=Aggregation(config.hierarchy, scheme, config.aggregator.f, secret),
        ledger=ledger,
        quarantine=config.quarantine.create(),
        q=config.q,
        on_tie=config.on_tie,
        deadline=config.transport.deadline,
        fetch_deadline=config.transport.fetch_deadline,
    )
    run = Run(config, folder, reporter, server, model)
    first = run.resume(checkpoint)
    _on_signals(lambda *_: server.stop())
    try:
        finished = run.train(first)
    finally:
        reporter.close()
        with contextlib.suppress(OSError):  # which came with the line that could not be written
            ledger.close()
    if finished:
        for line in summary_lines(folder.summary(), str(folder.path)):
            reporter.say(line)
    return finished


def _on_signals(handler: Callable[..., object] | signal.Handlers) -> None:
    """What Ctrl-C, SIGTERM, and the launcher's SIGUSR1 do."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    _on_signals(signal.SIG_IGN)
    raise Interruption


def check_classes(config: Config, classes: tuple[tuple[int, ...], ...]) -> str:
    """Says what groups within classes leave of the votes.

    Raises:
        StartError: too few for the aggregation.
    """
    sizes, r = [len(members) for members in classes], config.r
    votes = sum(size // r for size in sizes)
    found = (
        f"classes of {', '.join(map(str, sizes))} workers with equal bits make {votes} groups of {r}; "
        f"{config.p - votes * r} workers have nothing to do"
    )
    f = config.create_scheme().worst_case(config.q, votes) if config.aggregator.f is None else config.aggregator.f
    try:
        config.hierarchy.rehearse(votes, f)
    except AggregatorError as error:
        raise StartError(f"{found}, and the aggregator: {error}") from None
    return found


def create_files(config: Config, task: Task) -> Files:
    """The samples of each step, from shards of the training set where `data.split` asks for them.

    Raises:
        ConfigError: the task has no labels to split by, or fewer samples than there are files.
    """
    count, size, split = config.votes, config.r * config.batch_size, config.data.split
    if split == "iid":
        return Files(count, size, task.train_size, config.seed)
    labels = task.train_labels
    if not isinstance(labels, np.ndarray) or labels.shape != (task.train_size,) or labels.dtype.kind not in "iu":
        raise ConfigError(
            f'data.split = "{split}" needs labels: task {config.task} has to set train_labels to those of its training '
            f"samples, an integer array of shape ({task.train_size},)"
        )
    if count > task.train_size:
        raise ConfigError(
            f'data.split = "{split}": {task.train_size} training samples cannot be cut into {count} shards'
        )
    shards = cut(labels, count, split, config.data.alpha, config.seed)
    return Files(count, size, task.train_size, config.seed, tuple(shards))


def create_codec(config: Config, model: GlobalModel) -> Codec:
    """How gradients travel.

    Raises:
        ConfigError: the gradient is too long for the compressor.
    """
    try:
        return config.compression.create(model.d, model.b)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def assign_ranks(config: Config, hosts: int) -> list[int]:
    """The rank of each worker: blocks of consecutive ids.

    Args:
        config: p, and workers_per_rank if it is set.
        hosts: ranks besides the PS.

    Raises:
        ConfigError: the ranks that mpirun started do not suit.
    """
    needed = config.ranks()
    if needed is not None and needed != hosts + 1:
        raise ConfigError(
            f"p = {config.p} workers with workers_per_rank = {config.workers_per_rank} take {needed} ranks, the PS "
            f"included; mpirun started {hosts + 1}: use -n {needed}"
        )
    if hosts > config.p:
        raise ConfigError(
            f"mpirun started {hosts + 1} ranks, more than the PS and p = {config.p} workers: use -n {config.p + 1}"
        )
    if config.workers_per_rank is not None:
        return [1 + worker // config.workers_per_rank for worker in range(config.p)]
    return [1 + worker * hosts // config.p for worker in range(config.p)]


def create_model(config: Config, task: Task) -> GlobalModel:
    """The PS's model with the config's optimizer.

    Raises:
        ConfigError: the optimizer does not exist, or does not take its arguments.
    """
    section = config.optimizer
    optional = {"momentum": section.momentum, "weight_decay": section.weight_decay}
    arguments = {"lr": section.lr, **{name: value for name, value in optional.items() if value}, **section.options}
    try:
        return GlobalModel(
            task,
            seed=config.seed,
            steps=config.steps,
            optimizer=section.name,
            arguments=arguments,
            schedule=section.schedule,
            milestones=section.milestones,
            gamma=section.gamma,
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _start(transport: Transport, config: Config, ranks: list[int]) -> Task:
    """Sends the config, without what only the PS may know, to all ranks, and loads the task meanwhile."""
    public = config.model_dump(mode="json", exclude={"secret_seed"})
    start = json.dumps({"config": public, "ranks": ranks}).encode()
    transport.limits[Kind.READY] = _JSON_LIMIT
    transport.send(transport.peers, Header(Kind.START), start)
    return create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)


def _await_ready(transport: Transport, config: Config) -> dict[int, dict[str, Any]]:
    """Rank -> what decides the bits there, once all ranks have loaded data and model."""
    ready: dict[int, dict[str, Any]] = {}
    end = time.monotonic() + config.transport.start_deadline
    while len(ready) < len(transport.peers):
        for message in transport.receive():
            if message.header is None or message.header.kind != Kind.READY:
                continue
            facts = read_facts(message.source, bytes(message.payload))
            if "error" in facts:
                raise StartError(f"rank {message.source} on {facts.get('host')}: {facts['error']}")
            ready[message.source] = facts
        missing = [rank for rank in transport.peers if rank not in ready]
        if transport.dead & set(missing):
            raise StartError(f"ranks {sorted(transport.dead)} died while they loaded data and model")
        if missing and time.monotonic() > end:
            raise StartError(
                f"ranks {missing} were not ready within transport.start_deadline = "
                f"{config.transport.start_deadline:g} s"
            )
        time.sleep(config.transport.poll)
    return ready


def read_facts(rank: int, payload: bytes) -> dict[str, str]:
    """The JSON of a READY: names with words or numbers."""
    try:
        facts = json.loads(payload)
        if isinstance(facts, dict) and all(isinstance(value, str | int) for value in facts.values()):
            return {_printable(name): _printable(value) for name, value in facts.items()}
    except (ValueError, RecursionError):
        pass
    raise StartError(f"rank {rank} is ready for something else: {payload[:80]!r}")


def _printable(value: str | int) -> str:
    """What a rank says of itself goes to terminals and files: plain characters, and not many."""
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in str(value)[:500])


def dismiss(transport: Transport) -> bool:
    """Tells all ranks to leave; whether every one of them has said goodbye within two seconds."""
    transport.limits[Kind.BYE] = 0
    transport.send(transport.peers, Header(Kind.QUIT))
    waiting = set(transport.peers)
    end = time.monotonic() + 2.0
    while waiting - transport.dead and time.monotonic() < end:
        for message in transport.receive():
            if message.header is not None and message.header.kind == Kind.BYE:
                waiting.discard(message.source)
        time.sleep(0.001)
    return not waiting
