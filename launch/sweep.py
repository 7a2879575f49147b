"""`detox-ps sweep`: writes a config for each run of a grid, and prints a command for each."""

import itertools
import math
import shlex
from argparse import ArgumentParser, BooleanOptionalAction
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detox.config import Config, ConfigError, config_from, read_toml
from detox.config.fields import in_words
from detox.config.layers import flat, nested, write_config
from detox.launch import failure
from detox.launch.from_byzfl import byzfl_configs
from detox.ps.folder import RunFolder

_RUNS = 10_000
_SEEDS = ("seed", "attack.seed", "secret_seed")  # a run that shares one of them with another is no second sample


class Grid(BaseModel):
    """A grid of runs: each of the cases with each combination of the grid's values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    """The config that all runs start from; beside the grid's file."""
    output: str | None = None
    """Folder for the configs and the runs; unset: runs/ and the name of the grid's file."""
    set: dict[str, Any] = {}
    """Fields of all runs, as in a config."""
    case: list[dict[str, Any]] = [{}]
    """Fields that go together, with a `name`."""
    grid: dict[str, Any] = {}
    """Fields with a list of values each; every combination is run."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**64)]] = []
    """Each combination is run with each of these as its seed, attack.seed and secret_seed; none: with the config's."""


def sweep(argv: list[str]) -> int:
    """Writes the configs and prints the commands; returns the exit status.

    Raises:
        ConfigError: the grid, a run of it or an option cannot be, or a config cannot be written.
    """
    options, rest = parser().parse_known_args(argv)
    changed = []
    try:
        check_launch(rest)
        runs = _of_byzfl(options.grid, options.r) if options.from_byzfl else configs(options.grid)
        finished = _Finished()
        for config in runs:
            if options.todo and "--no-resume" not in rest and RunFolder(config.folder).done:
                if "--accept-changes" not in rest:
                    changed += finished.what_changed(config)
            else:
                print(shlex.join(["detox-ps", "launch", *rest, str(write_config(config))]))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    for text in changed:
        failure.say(text)
    return failure.MISTAKE if changed else 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps sweep",
        allow_abbrev=False,
        description="Writes a config for each run of a grid, and prints its command, for a shell, GNU parallel or an "
        "array of jobs. Whatever is not an option here goes to detox-ps launch.",
    )
    line.add_argument("grid", metavar="GRID.toml", help="base, set, case, grid: see docs/experiments.md")
    line.add_argument(
        "--from-byzfl", action="store_true", help="the grid is one of byzfl's benchmark, in JSON; see docs/byzfl.md"
    )
    line.add_argument("-r", type=int, default=1, help="with --from-byzfl: workers in a group (default: 1)")
    line.add_argument("--todo", action="store_true", help="leave out the runs that have finished")
    return line


def _of_byzfl(path: str, r: int) -> list[Config]:
    """The configs of byzfl's grid; what is left out is said."""
    found, left_out = byzfl_configs(path, r)
    for sentence in left_out:
        failure.say(f"left out: {sentence}")
    if not found:
        raise ConfigError(f"{path}: no run of it can be with r = {r}")
    return found


def check_launch(words: list[str]) -> None:
    """Checks the options of detox-ps launch, which would fail once per run.

    Raises:
        ConfigError: one that cannot be, or a field, which belongs into the grid.
        SystemExit: something else than a number; argparse has said so.
    """
    parser = ArgumentParser("detox-ps sweep", allow_abbrev=False, add_help=False)
    parser.add_argument("-n", type=int)
    parser.add_argument("--restarts", type=int)
    parser.add_argument("--hostfile")
    parser.add_argument("--progress", choices=["bar", "lines", "none"])
    parser.add_argument("--resume", action=BooleanOptionalAction)
    parser.add_argument("--accept-changes", action="store_true")
    options, rest = parser.parse_known_args(words)
    if options.n is not None and options.n < 2:
        raise ConfigError(f"-n {options.n}: a PS and at least one worker's rank are needed")
    if options.restarts is not None and options.restarts < 0:
        raise ConfigError(f"--restarts {options.restarts}: give 0 or more")
    if rest:
        raise ConfigError(
            f"{rest[0]} is no option of detox-ps sweep or launch; fields of all runs go into [set] of the grid"
        )


class _Finished:
    """What finished runs were made with, against what there is now, wherever it runs; a task's data are read once."""

    def __init__(self) -> None:
        self._facts: dict[tuple[str | None, ...], dict[str, str]] = {}

    def what_changed(self, config: Config) -> list[str]:
        """One text for a run that would be another now, or of which that cannot be told; none for another."""
        from detox.launch.provenance import changes, facts_of, in_words  # which import torch
        from detox.tasks import TaskError

        folder, key = RunFolder(config.folder), (config.task, config.model, config.data_dir, config.device)
        try:
            if key not in self._facts:
                task = config.create_task()
                self._facts[key] = facts_of(config, task)
        except TaskError as error:
            return [f"whether the run in {folder.path} would be the same now cannot be told: {error}"]
        found = changes(folder, self._facts[key])
        return [in_words(folder, found)] if found else []


def configs(path: str) -> list[Config]:
    """The configs of all runs of the grid in the file `path`.

    Raises:
        ConfigError: the file cannot be read, a run of it cannot be run, or two runs are the same.
    """
    try:
        grid = Grid(**read_toml(path))
    except ValidationError as error:
        raise ConfigError(in_words(path, error, Grid)) from None
    count = math.prod(len(values) for values in flat(grid.grid).values() if isinstance(values, list))
    count *= len(grid.case) * max(1, len(grid.seeds))
    if count > _RUNS:
        raise ConfigError(f"{path}: {count} runs; a grid has at most {_RUNS}")
    if not grid.case:
        raise ConfigError(f"{path}: case: a list of tables is needed, or none at all; got []")
    base = flat(read_toml(str(Path(path).parent / grid.base)))
    output = grid.output or str(Path("runs") / Path(path).stem)
    axes = flat(grid.grid)
    for field, values in axes.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{path}: grid.{field}: a list of values is needed, got {values!r}")
    given = {"grid": axes, "set": flat(grid.set)} | {f"case.{at}": flat(case) for at, case in enumerate(grid.case)}
    for where, fields in given.items():
        if grid.seeds and (twice := fields.keys() & set(_SEEDS)):
            raise ConfigError(f"{path}: {where}.{min(twice)}: seeds sets it already; leave one of them out")
    seeds = [dict.fromkeys(_SEEDS, seed) for seed in grid.seeds] or [{}]
    found: dict[Path, Config] = {}
    for case in grid.case:
        for *values, of_seed in itertools.product(*axes.values(), seeds):
            varied = dict(zip(axes, values, strict=True)) | of_seed
            fields = {"name": Path(path).stem, **base, **flat(grid.set), **flat(case), **varied, "output": output}
            where = f"{path}: {fields['name']}" + "".join(f", {field} = {value}" for field, value in varied.items())
            config = config_from(nested(fields), where)
            if config.folder in found:
                raise ConfigError(f"{where}: the same as another run")
            found[config.folder] = config
    return list(found.values())
