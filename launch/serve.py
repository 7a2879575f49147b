"""Rank 0: reads the config, starts the workers' ranks, trains, and keeps the run folder."""

import contextlib
import signal

from detox.aggregators import AggregatorError
from detox.config import Config, ConfigError, known_secret, secret_seed
from detox.config.adversary import adversary_in_words, groups_in_words
from detox.errors.words import counted
from detox.launch import failure
from detox.launch.callback import Callback
from detox.launch.console import Reporter, summary_lines
from detox.launch.environment import handle_signals
from detox.launch.mpirun import assign_ranks
from detox.launch.provenance import ChangedError, changes, check, facts_of, in_words, place_of, workers_of
from detox.launch.ranks import await_ready, dismiss, send_start
from detox.launch.relatives import predecessor
from detox.launch.run import Run
from detox.launch.train import Options, parse
from detox.ps.aggregation import Aggregation
from detox.ps.audit import Audit
from detox.ps.folder import RunFolder, Status
from detox.ps.ledger import Ledger
from detox.ps.selftest import StartError, check_answers, check_own_bits, classes_of, probe, unequal
from detox.ps.server import Server, ServerError
from detox.ps.trial import try_out
from detox.tasks import Task, TaskError, create_task
from detox.wire import Session


class Interruption(BaseException):
    """A signal came before the training did."""


def serve(session: Session, argv: list[str]) -> tuple[int, bool]:
    """The PS's life: the run that the command line asks for, and the farewell.

    Args:
        session: the conversation with all other ranks.
        argv: of `detox-ps train`.

    Returns:
        The exit status, and whether all ranks have said goodbye.
    """
    try:
        handle_signals(_interrupt)  # one may have waited for this
        status = _serve(session, argv)
    except Interruption:
        status = failure.INTERRUPTED
    except BaseException as error:
        failure.say(error)
        status = failure.status_of(error)
    return status, dismiss(session)


def _serve(session: Session, argv: list[str]) -> int:
    try:
        config, options = parse(argv)
    except SystemExit as exit_:  # after --help, or what was wrong with an option, which has been said
        return exit_.code if isinstance(exit_.code, int) else failure.MISTAKE
    ranks = assign_ranks(config, len(session.peers))
    folder = RunFolder(config.folder, config.checkpoints_kept)
    if options.resume and folder.done and (told := _told(folder)):
        _check_finished(config, options.accept, len(session.peers) + 1, folder)
        print("\n".join(["already finished:", *told]))
        return 0
    with folder.held(failure.say):
        return _run(session, config, options, ranks, folder)


def _told(folder: RunFolder) -> list[str]:
    """The summary of a finished run in words; empty where it is damaged, and has to be made again."""
    try:
        return summary_lines(folder.summary(), str(folder.path))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        failure.say(f"the summary of {folder.path} cannot be read, and is made again")
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
        with folder.held(failure.say):
            check(folder, facts, accept, failure.say)
    elif not accept and (found := changes(folder, facts)):
        raise ChangedError(in_words(folder, found))


def _run(session: Session, config: Config, options: Options, ranks: list[int], folder: RunFolder) -> int:
    """The training, and how it ended; the folder is this job's alone."""
    try:
        folder.bring_back()  # what a job that was killed at its start had set aside
        if not options.resume:
            folder.start_over()
        folder.create(config.toml())
        if options.resume and not folder.resumable and (shorter := predecessor(config)) is not None:
            folder.continue_from(shorter)
        folder.write_status("running")
        finished = _train(session, config, options, ranks, folder)
    except Interruption:
        finished = False
    except BaseException as error:  # sys.exit in a task too
        why, status = _why(folder, error), failure.status_of(error)
        failure.say(why)
        again = isinstance(error, StartError | ServerError)
        _end(folder, "failed", why, again=again, mistake=status == failure.MISTAKE)
        return status
    if not finished:
        _end(folder, "interrupted", "told to end by a signal")
        return failure.INTERRUPTED
    return 0


def _end(folder: RunFolder, status: Status, why: str, again: bool = False, mistake: bool = False) -> None:
    """Notes how the run ended, where the folder can still be written."""
    with contextlib.suppress(OSError):
        folder.end(status, why, again, mistake)


def _why(folder: RunFolder, error: BaseException) -> str:
    """What went wrong, in words; the traceback of what nobody foresaw is kept in the run's folder."""
    if isinstance(error, OSError) and not failure.users_line(error):
        if not folder.path.is_dir():
            return f"the run's folder {folder.path} is gone"
        return f"{error.filename or folder.path}: {error.strerror}" if error.strerror else str(error)
    return failure.in_words(error, None if folder.replaces else folder.path)


def _train(session: Session, config: Config, options: Options, ranks: list[int], folder: RunFolder) -> bool:
    """The whole run; False where a signal ended it."""
    reporter = Reporter(options.progress, config.steps)
    callback = Callback(config.metrics, reporter.warn) if config.metrics is not None else None
    task = _start(session, config, ranks)
    check(folder, facts_of(config, task) | place_of(config, len(session.peers) + 1), options.accept, reporter.warn)
    model = config.create_model(task)
    files = config.create_files(task)
    signs = config.compression.kind == "sign"
    metrics = try_out(task, model, files, bits=config.compares_bits, signs=signs, warn=reporter.warn)
    config.check_metrics(metrics)
    config.hierarchy.rehearse(config.votes, config.f, model.d)  # compiles, while the ranks load
    fingerprints = await_ready(session, config.transport.start_deadline)
    hosts = {rank: facts["host"] for rank, facts in fingerprints.items()}
    check(folder, workers_of(fingerprints), options.accept, reporter.warn)
    digests = probe(session, ranks, model, files, config.transport.start_deadline)
    check_answers(digests, ranks, hosts)
    for line in unequal(digests, ranks, fingerprints):
        reporter.warn(line)
    classes = classes_of(digests) if config.groups_within == "class" else ()
    if classes:
        reporter.say(check_classes(config, classes))
    if config.recomputes:
        check_own_bits(digests, ranks, model, files)
    buffers = f" and {model.b} buffers" if model.b else ""
    workers, groups = counted(config.p, "worker"), groups_in_words(config)
    where = f"{counted(len(set(ranks)), 'rank')} on {counted(len(set(hosts.values())), 'host')}"
    reporter.say(
        f"{config.task}: d = {model.d} parameters{buffers}; p = {workers} {groups}, "
        f"{adversary_in_words(config)}; {where}"
    )
    if config.share_compute:
        reporter.say("share_compute: workers of one rank that hold the same file compute it once")
    checkpoint = folder.load_checkpoint(reporter.warn)
    folder.rewind(checkpoint[0] if checkpoint else 0, reporter.warn)
    ledger = Ledger(folder.ledger, ranks, hosts)
    secret = folder.keep_secret(lambda: secret_seed(config), known_secret(config))
    scheme = config.create_scheme(secret, classes)
    quarantine = config.create_quarantine()
    server = Server(
        session,
        ranks,
        model,
        config.compression.create(model.d, model.b),
        files=files,
        scheme=scheme,
        create_ballot=config.create_ballot(model.d, model.words),
        aggregation=Aggregation(config.hierarchy, scheme, config.aggregator.f, secret),
        ledger=ledger,
        quarantine=quarantine,
        audit=Audit(config.audit.ps, secret, quarantine),
        q=config.q,
        on_tie=config.on_tie,
        deadline=config.transport.deadline,
        fetch_deadline=config.transport.fetch_deadline,
    )
    run = Run(config, folder, reporter, server, model, session.channel.library, callback)
    first = run.resume(checkpoint)
    handle_signals(lambda *_: server.stop())
    try:
        finished = run.train(first)
    finally:
        reporter.close()
        if callback is not None:
            callback.close()
        with contextlib.suppress(OSError):  # which came with the line that could not be written
            ledger.close()
    if finished:
        for line in summary_lines(folder.summary(), str(folder.path)):
            reporter.say(line)
    return finished


def _interrupt(*_: object) -> None:
    handle_signals(signal.SIG_IGN)
    raise Interruption


def check_classes(config: Config, classes: tuple[tuple[int, ...], ...]) -> str:
    """Says what groups within classes leave of the votes.

    Raises:
        ConfigError: too few for the aggregation.
    """
    sizes, scheme = [len(members) for members in classes], config.create_scheme(classes=classes)
    assignment = scheme.draw(1, range(config.p))
    votes, busy = len(assignment.holders), {worker for worker, _ in assignment.edges}
    found = (
        f"classes of {', '.join(map(str, sizes))} workers with equal bits make {votes} groups of {config.r}; "
        f"{config.p - len(busy)} workers have nothing to do"
    )
    f = scheme.worst_case(config.q, votes) if config.aggregator.f is None else config.aggregator.f
    try:
        config.hierarchy.rehearse(votes, f)
    except AggregatorError as error:
        raise ConfigError(f"groups_within = class: {found}, and the aggregator: {error}") from None
    return found


def _start(session: Session, config: Config, ranks: list[int]) -> Task:
    """Starts all ranks, and loads the task meanwhile."""
    session.poll = config.transport.poll
    send_start(session, config, ranks)
    return create_task(config.task, model=config.model, data_dir=config.data_dir, device=config.device)
