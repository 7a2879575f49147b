"""`detox-ps train`: rank 0 serves as the PS, every other rank hosts workers, all under mpirun."""

import os
import shlex
import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detox.launch.config import Config, ConfigError, override, read_config
from detox.launch.console import ProgressKind
from detox.launch.environment import fix_torch
from detox.launch.mpirun import MpirunError, local_ranks, mpirun_line
from detox.launch.secret import read, without

PS = 0


def train(argv: list[str]) -> int:
    """Runs one rank of the job; returns its exit status."""
    from detox.launch.serve import serve
    from detox.wire.transport import world

    return _alone(argv) if world().size == 1 else run_rank(serve, argv)


def run_rank(serve: Callable[[Any, list[str]], tuple[int, bool]], argv: list[str]) -> int:
    """The life of this rank: `serve` on the first, hosting workers on all others.

    Args:
        serve: takes a transport to all other ranks; gives the exit status, and whether all have said goodbye.
        argv: for `serve`.
    """
    from detox.launch.work import work
    from detox.wire.transport import Transport, leave, world

    fix_torch()
    comm = world()
    if comm.rank == PS:
        status, orderly = serve(Transport(comm, range(1, comm.size)), argv)
    else:
        status, orderly = work(Transport(comm, [PS]), comm.rank)
    leave(status, orderly)
    return status


@dataclass(frozen=True)
class Options:
    """What `detox-ps train` takes beside the config's fields.

    Attributes:
        progress: how it reports.
        resume: whether to go on from a checkpoint, or with what is done.
        accept: whether to do so where source, data, versions, ranks or machine are others now.
    """

    progress: ProgressKind
    resume: bool
    accept: bool


def parse(argv: list[str]) -> tuple[Config, Options]:
    """The config and the options that `detox-ps train` was given.

    Raises:
        ConfigError: the config cannot be run.
        SystemExit: after --help, or for wrong options.
    """
    parser = ArgumentParser("detox-ps train", add_help=False, allow_abbrev=False)
    parser.add_argument("--progress", choices=["bar", "lines", "none"], default="lines")
    parser.add_argument("--resume", action=BooleanOptionalAction, default=True)
    parser.add_argument("--accept-changes", dest="accept", action="store_true")
    parser.add_argument("--secret-seed-file", metavar="FILE")
    known, rest = parser.parse_known_args(argv)
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
    try:
        config, _ = parse(argv)
    except ConfigError as error:
        print(f"detox-ps: {error}", file=sys.stderr)
        return 2
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if tasks > 1:
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
