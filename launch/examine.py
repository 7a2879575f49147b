"""The first rank of `detox-ps doctor`, under mpirun: measures all others."""

import platform
import signal
from argparse import ArgumentParser
from pathlib import Path

from rich.console import Console

from detox.config import Config, ConfigError, override, read_config
from detox.launch import failure
from detox.launch.checkup import of_bits, of_folder, of_memory, of_mpi, of_network, of_ranks, of_servers
from detox.launch.environment import handle_signals
from detox.launch.history import of_history
from detox.launch.measure import measure, plain
from detox.launch.over_tcp import listen
from detox.launch.patients import table
from detox.launch.ranks import dismiss
from detox.launch.train import config_first
from detox.wire import Session
from detox.worker.memory import available_memory


def examine(session: Session, argv: list[str]) -> tuple[int, bool]:
    """Measures, prints, and dismisses all ranks; returns the exit status, and whether all have said goodbye."""
    parser = ArgumentParser("detox-ps doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--lost", default="")
    parser.add_argument("--colour", action="store_true")
    parser.add_argument("--history", type=Path)
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
        status = _examine(session, config, options.lost, options.colour, options.history)
    except BaseException as error:
        failure.say(error)
        status = failure.status_of(error)
    return status, dismiss(session)


def _examine(session: Session, config: Config, lost: str, colour: bool, history: Path | None) -> int:
    checks = [of_mpi(session.channel.library.get("mpi", "none"), lost)]
    if config.transport.channel == "tcp":
        listen(session, config.transport)
        session.expect({})
        deadline = session.clock() + config.transport.start_deadline
        session.wait(lambda: not session.dead, lambda _: None, deadline=deadline)  # who does not come is missing
    patients, model, own = measure(session, plain(config, len(session.peers)), checks, config.compares_bits)
    missing = sorted(set(session.peers) - {patient.rank for patient in patients})
    size = None if model is None else model.d + model.b
    checks += of_ranks(patients, missing, platform.node())
    checks += of_network(patients, 4 * (size or 0))
    checks += of_memory(patients, config, 4 * (size or 0), platform.node(), available_memory())
    d, exact = (0, 0) if model is None else (model.d, model.words)
    checks += of_servers(config, d, len(session.peers))
    checks += of_folder(config, size) + of_bits(patients, own, config, d, exact)
    if history is not None:
        checks += of_history([platform.node(), *(patient.host for patient in patients)], history)
    # mpirun gives each rank a terminal, whatever its own output is.
    console = Console(highlight=False, width=160, force_terminal=colour)
    console.print(table(patients), "", sep="\n")
    for check in checks:
        console.print(f"[{check.level}]{check.level:6}[/] ", end="")
        console.print(f"{check.what}: {check.found}" + f"\n       {check.advice}" * bool(check.advice), markup=False)
    return int(any(check.level == "red" for check in checks))
