"""`detox-ps train`: rank 0 serves as the PS, every other rank hosts workers, all under mpirun."""

import importlib
import os
import platform
import shlex
import signal
import sys
import threading
from argparse import ArgumentParser, BooleanOptionalAction
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detox.config import Config, ConfigError, override, read_config
from detox.launch import failure
from detox.launch.environment import fix_torch, handle_signals
from detox.launch.mpirun import MpirunError, local_ranks, mpirun_line
from detox.launch.secret import read, without

if TYPE_CHECKING:
    from detox.launch.console import ProgressKind

PS = 0


def train(argv: list[str]) -> int:
    """Runs one rank of the job; returns its exit status."""
    from detox.wire.job import world

    if world().size == 1:
        handle_signals(signal.SIG_DFL)
        return _alone(argv)
    return run_rank("detox.launch.attended", "serve_job", argv)


def examine(argv: list[str]) -> int:
    """Runs one rank of the doctor's job; returns its exit status."""
    return run_rank("detox.launch.examine", "examine", argv)


def run_rank(module: str, serve: str, argv: list[str]) -> int:
    """The life of this rank: `serve` of the module on the first, hosting workers on all others. It does not return.

    Args:
        module: imported by the first rank alone.
        serve: takes the conversation with all other ranks; gives the exit status, and whether all have said goodbye.
        argv: for `serve`.
    """
    from detox.wire import Session
    from detox.wire.job import abort, guard, leave, world
    from detox.wire.transport import Reach, Transport

    comm = world()
    end_with_threads()
    if comm.rank == PS:
        ends_job = guard()
        status, orderly = failure.FAILURE, False
        try:
            fix_torch()
            life = getattr(importlib.import_module(module), serve)
            status, orderly = life(Session(Transport(comm, range(1, comm.size))), argv)
        except BaseException as error:
            failure.say(error)
            status = failure.status_of(error)
        leave(status, orderly, ends_job)
    else:
        try:
            fix_torch()
            from detox.launch.work import work

            handle_signals(signal.SIG_IGN)  # they are for the PS, which then tells its workers to leave
            session = Session(Transport(comm, [PS]))
            status, orderly = work(session, comm.rank, abort, Reach())
        except BaseException as error:
            # Ranks that exit by themselves make mpirun end the job; a killed one the PS survives.
            failure.say(f"rank {comm.rank} on {platform.node()}: {failure.in_words(error)}")
            os.kill(os.getpid(), signal.SIGKILL)
            raise
        leave(status, orderly)
    os._exit(status)  # a thread of the task's would keep the process, and to take down what torch has made takes long


def end_with_threads() -> None:
    """Makes what a thread of the task's fails with an error of this rank, which might wait for the thread for ever."""

    def pass_on(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            errors.append(told.exc_value)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    def fail(*_: object) -> None:
        raise errors[0]

    errors: list[BaseException] = []
    signal.signal(signal.SIGUSR2, fail)
    threading.excepthook = pass_on


@dataclass(frozen=True)
class Options:
    """What `detox-ps train` takes beside the config's fields.

    Attributes:
        progress: how it reports.
        resume: whether to go on from a checkpoint, or with what is done.
        accept: whether to do so where source, data, versions, ranks or machine are others now.
    """

    progress: "ProgressKind"
    resume: bool
    accept: bool


def parse(argv: list[str]) -> tuple[Config, Options]:
    """The config and the options that `detox-ps train` was given.

    Raises:
        ConfigError: the config cannot be run.
        SystemExit: after --help, or for wrong options.
    """
    known, rest = parser().parse_known_args(argv)
    if known.secret_seed_file is not None:
        if without(rest) != rest:
            raise ConfigError("--secret-seed and --secret-seed-file: one of them, please")
        rest += ["--secret-seed", str(read(known.secret_seed_file))]
    config, overrides = config_first(rest)
    if config is None:
        if {"-h", "--help"} & set(overrides):
            override(Config(), ["--help"])
        raise ConfigError("which run? detox-ps train CONFIG.toml [--no-resume] [--accept-changes] [--field value ...]")
    return read_config(config, overrides), Options(known.progress, known.resume, known.accept)


def parser() -> ArgumentParser:
    """The command line but for the fields of the config."""
    line = ArgumentParser("detox-ps train", add_help=False, allow_abbrev=False)
    line.add_argument("--progress", choices=["bar", "lines", "none"], default="lines")
    line.add_argument("--resume", action=BooleanOptionalAction, default=True)
    line.add_argument("--accept-changes", dest="accept", action="store_true")
    line.add_argument("--secret-seed-file", metavar="FILE")
    return line


def config_first(words: list[str]) -> tuple[str | None, list[str]]:
    """The path of the config, None if there is none, and the fields behind it.

    Raises:
        ConfigError: it does not come first.
    """
    if words and not words[0].startswith("-"):
        return words[0], words[1:]
    if late := next((word for word in words if word.endswith(".toml")), None):
        raise ConfigError(f"CONFIG.toml comes before the fields; got {late} behind {words[0]}")
    return None, words


def _alone(argv: list[str]) -> int:
    """One process is no cluster: says how to launch."""
    config, _ = parse(argv)
    tasks = os.environ.get("SLURM_NTASKS", "")
    if tasks.isdigit() and int(tasks) > 1:
        print(
            f"detox-ps: Slurm started {tasks} processes, but MPI sees each of them alone. Start them with "
            "srun --mpi=pmix, or use mpirun inside the allocation.",
            file=sys.stderr,
        )
        return 2
    try:
        line = shlex.join(mpirun_line(local_ranks(config), None, ["detox-ps", "train", *argv]))
    except MpirunError as error:
        line = str(error)
    print(
        "detox-ps: training takes a parameter server and workers, and this process is alone. Run\n\n"
        f"  detox-ps launch {shlex.join(argv)}\n\n"
        f"which starts mpirun with all its settings, or mpirun itself:\n\n  {line}",
        file=sys.stderr,
    )
    return 2
