"""The commands of `detox-ps`: one table, from which come the usage, the dispatch and the shells' completion."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A command.

    Attributes:
        words: what follows its name, for the usage.
        does: in a few words.
        module: within detox; it has `parser`, and a function of the command's name, with a _ behind one of Python's.
        hidden: whether only another command runs it.
        of_ranks: whether it is one rank of a job.
    """

    words: str
    does: str
    module: str
    hidden: bool = False
    of_ranks: bool = False

    def run(self, name: str) -> Callable[[list[str]], int]:
        """The function, argv -> exit status."""
        module = self._imported()
        run: Callable[[list[str]], int] = getattr(module, name, None) or getattr(module, f"{name}_")
        return run

    def parser(self) -> Any:
        """Its command line, an ArgumentParser."""
        return self._imported().parser()

    def _imported(self) -> Any:
        return importlib.import_module(f"detox.{self.module}")


COMMANDS = {
    "launch": Command(
        "[-n N] [--hostfile H] CONFIG.toml [--field value ...]", "train under mpirun", "launch.launcher"
    ),
    "train": Command(
        "CONFIG.toml [--field value ...]", "one rank of it; mpirun runs this", "launch.train", of_ranks=True
    ),
    "keys": Command("-p P FOLDER", "a key for each worker that joins without mpirun", "launch.keys"),
    "serve": Command(
        "CONFIG.toml --listen HOST:PORT --keys FOLDER [--field value ...]", "serves a run to workers that join",
        "launch.listen", of_ranks=True,
    ),
    "join": Command("HOST:PORT --keys FOLDER", "works for a run that is served", "launch.join", of_ranks=True),
    "doctor": Command(
        "[-n N] [--hostfile H] [--history RUNS] [CONFIG.toml]", "checks hosts, network, data and bits", "launch.doctor"
    ),
    "examine": Command("", "what the doctor runs under mpirun", "launch.train", hidden=True, of_ranks=True),
    "plan": Command(
        "-p P -q Q [-r R] [--find LIMIT...] [--plot FILE.png] [--json]", "what can check votes, at what cost",
        "reports.plan",
    ),
    "sweep": Command(
        "GRID.toml [--todo] [-n N] [--hostfile H]", "one command per run of a grid", "launch.sweep"
    ),
    "report": Command("RUN... [--plot FILE.png]", "table and picture of finished runs", "reports.report"),
    "blame": Command(
        "RUN [--plot FILE.png] [--json] | --all RUN...", "what its ledger says of each worker", "reports.blame"
    ),
    "evaluate": Command(
        "RUN [--model best|last|FILE] [--json]", "the scores of the weights that it left", "launch.evaluate"
    ),
    "verify": Command(
        "RUN [--steps N] [--from CHECKPOINT]", "makes steps again, and compares them with its record", "launch.verify"
    ),
    "watch": Command("RUN [--once]", "a run while it trains", "reports.watch"),
    "list": Command("[rules|attacks|tasks|...]", "what a config can name, one line each", "commands.listing"),
    "config": Command("--show CONFIG.toml | --schema", "a config with its defaults; the schema", "commands.configs"),
    "new": Command("task NAME", "writes a task and a config that run", "commands.new"),
    "completion": Command("bash|zsh|fish|...", "makes the shell complete all of this", "launch.completion"),
}  # fmt: skip


def usage() -> str:
    """What `detox-ps --help` says."""
    does = {f"detox-ps {name} {one.words}": one.does for name, one in COMMANDS.items() if not one.hidden}
    width = max(map(len, does)) + 2
    lines = [f"  {line:{width}}{words}\n" for line, words in does.items()]
    head = "detox-ps: an MPI parameter server that survives Byzantine workers\n"
    return f"{head}\n{''.join(lines)}\nEach command has --help. detox-ps --version prints the version.\n"
