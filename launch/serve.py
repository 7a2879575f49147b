"""Rank 0: what the command line asks for, in which folder, and how that ends."""

import contextlib
import signal
from collections.abc import Callable

from detox.config import Config
from detox.launch import failure
from detox.launch.environment import handle_signals
from detox.launch.mpirun import assign_ranks
from detox.launch.provenance import ChangedError, changes, check, facts_of, in_words, place_of
from detox.launch.ranks import dismiss
from detox.launch.relatives import predecessor
from detox.launch.summary import summary_lines
from detox.launch.train import Options, parse
from detox.launch.training import run_training
from detox.ps.folder import RunFolder, Status
from detox.ps.selftest import StartError
from detox.ps.servers import LostServerError
from detox.ps.step import ServerError
from detox.tasks import TaskError
from detox.wire import Session

Training = Callable[[Session, Config, Options, list[int], RunFolder], bool]
"""The training of a run: gives False where a signal ended it."""


class Interruption(BaseException):
    """A signal came before the training did."""


def serve(session: Session, argv: list[str], train: Training = run_training) -> tuple[int, bool]:
    """The PS's life: the run that the command line asks for, and the farewell.

    Args:
        session: the conversation with all other ranks.
        argv: of `detox-ps train`.
        train: the training.

    Returns:
        The exit status, and whether all ranks have said goodbye.
    """
    try:
        handle_signals(_interrupt)  # one may have waited for this
        status = _serve(session, argv, train)
    except Interruption:
        status = failure.INTERRUPTED
    except BaseException as error:
        failure.say(error)
        status = failure.status_of(error)
    return status, dismiss(session)


def _serve(session: Session, argv: list[str], train: Training) -> int:
    try:
        config, options = parse(argv)
    except SystemExit as exit_:  # after --help, or what was wrong with an option, which has been said
        return exit_.code if isinstance(exit_.code, int) else failure.MISTAKE
    ranks = assign_ranks(config, len(session.peers))
    folder = RunFolder(config.folder, config.checkpoints_kept)
    if options.resume and folder.done and (told := _told(folder)):
        _check_finished(config, options.accept, len(session.peers) + 2 - config.servers, folder)
        print("\n".join(["already finished:", *told]))
        return 0
    with folder.held(failure.say):
        return _run(session, config, options, ranks, folder, train)


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
        task = config.create_task()
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


def _run(
    session: Session, config: Config, options: Options, ranks: list[int], folder: RunFolder, train: Training
) -> int:
    """The training, and how it ended; the folder is this job's alone."""
    try:
        folder.bring_back()  # what a job that was killed at its start had set aside
        if not options.resume:
            folder.start_over()
        folder.create(config.toml())
        if options.resume and not folder.resumable and (shorter := predecessor(config)) is not None:
            folder.continue_from(shorter)
        folder.write_status("running")
        finished = train(session, config, options, ranks, folder)
    except Interruption:
        finished = False
    except BaseException as error:  # sys.exit in a task too
        why, status = _why(folder, error), failure.status_of(error)
        failure.say(why)
        again = isinstance(error, StartError | ServerError | LostServerError)
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


def _interrupt(*_: object) -> None:
    handle_signals(signal.SIG_IGN)
    raise Interruption
