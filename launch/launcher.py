"""`detox-ps launch`: checks the config, then runs `detox-ps train` under mpirun with all its settings."""

import shlex
import sys
from argparse import ArgumentParser
from contextlib import suppress
from functools import partial
from typing import Any

from detox.config import Config, ConfigError
from detox.errors.words import counted
from detox.launch import failure, job
from detox.launch.hostfile import dialled, ranks_in
from detox.launch.mpirun import assign_ranks, find_mpirun, is_open_mpi, local_ranks, mpirun_line, program, warnings
from detox.launch.relatives import why_new
from detox.launch.secret import hide
from detox.launch.train import parse
from detox.ps.folder import RunFolder
from detox.ps.lock import LockedError, check_unlocked

_OWN = 60.0  # seconds for mpirun and the imports of all ranks


def launch(argv: list[str]) -> int:
    """Returns 0 if the run has finished, whatever mpirun says; 128 + the signal's number if one ended it."""
    options, rest = parser().parse_known_args(argv)
    if options.end_with is not None:
        job.end_with(options.end_with)
    config, train = parse(rest)
    if options.restarts is not None and options.restarts < 0:
        raise ConfigError(f"--restarts {options.restarts}: give 0 or more")
    n = ranks(options, local_ranks(config))
    assign_ranks(config, n - 1)
    folder = RunFolder(config.folder)
    progress = options.progress or ("bar" if sys.stdout is not None and sys.stdout.isatty() else "lines")
    command = [*program(), "train", *hide(rest, config, folder), *address(config, options.hostfile)]
    command += ["--progress", progress]
    line = mpirun_line(n, options.hostfile, command)
    for warning in warnings(line[0], options.hostfile):
        print(f"warning: {warning}", file=sys.stderr)
    check_unlocked(folder.path, failure.say)
    if train.resume and not folder.done and not folder.has_steps and (told := why_new(config)):
        print(told, flush=True)
    if progress != "none":
        print(f"{n} ranks load torch and the data, and compare what they compute; the first step follows", flush=True)
    return _start(line, folder, options.restarts, train.resume, config.transport.start_deadline)


def parser() -> ArgumentParser:
    """The command line but for the fields of the config."""
    line = ArgumentParser(
        "detox-ps launch",
        allow_abbrev=False,
        description="Prints and runs the mpirun line for a config; whatever is not an option here goes to detox-ps "
        "train (see detox-ps train --help).",
    )
    add_places(line, "or one per core")
    line.add_argument("--progress", choices=["bar", "lines", "none"], help="unset: bar on a terminal, else lines")
    line.add_argument(
        "--restarts",
        type=int,
        help="how often a job that died is started again, to resume; unset: whenever the parameter server was gone "
        "without a word, as after a reset connection of MPI, and the job had got further than any before it",
    )
    line.add_argument("--end-with", type=int, metavar="PID", help="end the job when this parent process is gone")
    return line


def add_places(parser: ArgumentParser, otherwise: str) -> None:
    """Adds the options that say where ranks run."""
    parser.add_argument("-n", type=int, help=f"ranks, the PS included; unset: those of the hostfile, {otherwise}")
    parser.add_argument(
        "--hostfile",
        help="one host per line, the PS first; unset: all ranks on this machine, also in an allocation of Slurm or PBS",
    )


def ranks(options: Any, otherwise: int) -> int:
    """The number of ranks: -n, or those of the hostfile, or `otherwise`.

    Raises:
        ConfigError: there are not two, or the hostfile cannot be used.
        MpirunError: there is no mpirun, or it may not open as many files as it needs.
    """
    n: int = otherwise if options.n is None else options.n
    if options.hostfile is not None:
        found = ranks_in(options.hostfile, slots=is_open_mpi(find_mpirun()))
        n = found if options.n is None else n
    if n < 2:
        raise ConfigError(f"a PS and at least one worker's rank are needed, got {counted(n, 'rank')}")
    if options.hostfile is None:
        job.check_files(n)
    return n


def address(config: Config, hostfile: str | None) -> list[str]:
    """The option that says what ranks dial, where they do and the hostfile alone tells."""
    if config.transport.channel != "tcp" or config.transport.listen is not None or hostfile is None:
        return []
    return ["--transport.listen", dialled(hostfile)]


def _start(line: list[str], folder: RunFolder, restarts: int | None, resume: bool, patience: float) -> int:
    """Runs the job; again, to resume, as long as it died of something that may not happen again."""
    mute = 0  # jobs in a row of which the PS was gone without a word before its first step
    furthest = folder.newest_step if resume else 0
    while True:
        print(shlex.join(line), flush=True)
        before = folder.read_status()
        begun = partial(_has_begun, folder, before)
        status, number = job.run(line, begun, patience + _OWN)
        now = folder.read_status()
        told = now if now != before else {}
        if status == failure.MISTAKE and told.get("status") == "running":
            told = {}  # it is another job's, for which this one was refused
        refused = status == failure.MISTAKE and not told  # as where the task has changed since the run finished
        if folder.done and not refused and (resume or (told.get("status") == "finished" and "start_over" not in told)):
            return 0
        replaces = folder.replaces or "start_over" in now
        begun_at, furthest = furthest, max(furthest, 0 if replaces else folder.newest_step)
        _bring_back(folder)
        told = told.get("start_over", told)
        mute = mute + 1 if told.get("status") == "running" and not folder.has_steps else 0
        gone = told.get("status") == "running"
        goes_on = gone and furthest > begun_at if restarts is None else restarts > 0
        if number or not goes_on or not told.get("again"):
            break
        if mute > 1:  # as of a task that crashes
            failure.say("the parameter server was gone before its first step, twice; it is not started again")
            told = {**told, "status": "failed", "again": False}
            break
        why, times = told.get("why") or "the job died", f"for it has made {counted(furthest, 'step')}"
        if restarts is not None:
            restarts -= 1
            times = f"at most {restarts} times more"
        failure.say(f"{why}; starting it again, {times}")
        if not resume and not replaces:
            line, resume = [*line, "--resume"], True  # what it was to replace is gone
    failure.say(outlook(told, number, str(folder.path), folder.resumable))
    return exit_status(status, number, told)


def _has_begun(folder: RunFolder, before: dict[str, Any]) -> bool:
    return folder.read_status() != before


def _bring_back(folder: RunFolder) -> None:
    """Puts an earlier run back in its place where the one that was to replace it was killed before its first step."""
    if folder.replaces:
        with suppress(LockedError, OSError), folder.held(lambda _: None):
            folder.bring_back()


def outlook(told: dict[str, Any], number: int, folder: str, resumable: bool) -> str:
    """What there is to say of a job that did not finish.

    Args:
        told: what this job wrote into status.json; empty where it wrote nothing.
        number: the signal that ended the run, or 0.
        folder: of the run.
        resumable: whether there is a checkpoint in it.
    """
    if not told:
        return "ended before the run began" if number else "the run was not started; see above"
    if told["status"] == "failed" and not told["again"]:
        return "the run failed, and cannot be resumed before that is mended"
    died = "" if told["status"] != "running" or number else ": the parameter server is gone without a word"
    again = f"resumes it from {folder}" if resumable else "starts it anew, for it has no checkpoint yet"
    return f"the run did not finish{died}; the same command {again}"


def exit_status(status: int, number: int, told: dict[str, Any]) -> int:
    """The launcher's exit status, from mpirun's, which tells little: it may be that of any rank."""
    if number:
        return 128 + number
    if told.get("status") == "interrupted":
        return failure.INTERRUPTED
    mistake = told.get("mistake", False) if told else status == failure.MISTAKE
    return failure.MISTAKE if mistake else failure.FAILURE
