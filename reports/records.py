"""The files of a run's folder, read with care: a run may be going on, damaged, another version's or somebody else's."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from detox.config import Config, ConfigError, check_sizes, config_of
from detox.errors import UserError
from detox.ps.diagnosis import Diagnosis
from detox.ps.events import EventKind, Trait
from detox.ps.folder import RunFolder
from detox.ps.stopwatch import PARTS
from detox.tasks import TAKEN

_WRITTEN = {kind.value for kind in EventKind if not kind.has(Trait.UNWRITTEN)}
_AHEAD = 64  # steps: a quarantine is entered for the next one

T = TypeVar("T")
Natural = Annotated[int, Field(ge=0)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RunError(UserError):
    """A run's folder, or a file in it, that cannot be read; the message says which and why."""


def printable(text: str) -> str:
    """The text, without what would move a terminal's cursor or is no character: a rank names its host itself."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Entry(TypedDict):
    """A line of ledger.jsonl, as far as it is read here."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    step: Natural
    kind: str
    worker: Natural | None
    rank: Natural
    host: Annotated[str, AfterValidator(printable)]
    others: NotRequired[list[Natural]]
    diagnosis: NotRequired[Annotated[Diagnosis, BeforeValidator(TypeAdapter(Diagnosis).validate_python)]]


class Made(TypedDict):
    """A line of metrics.jsonl, as far as every command needs it."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    step: Annotated[int, Field(ge=1)]


class Step(Made):
    """A line of metrics.jsonl; beside these, the scores by name where the model was evaluated."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    seconds: dict[str, Number]
    bytes_in: Number
    waits: NotRequired[dict[str, Number]]


class Summary(TypedDict):
    """summary.json, as far as it is read here; beside these, the scores at the end, as test_NAME."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    name: Annotated[str, AfterValidator(printable)]
    steps: Annotated[int, Field(ge=1)]
    skipped_steps: Natural
    bytes_into_ps: Number
    seconds_per_step: dict[str, Number]
    ledger: list[dict[str, Natural]]
    hosts: list[Annotated[str, AfterValidator(printable)]]
    weights_digest: str


_ENTRY, _MADE, _STEP, _SUMMARY = (TypeAdapter(kind) for kind in (Entry, Made, Step, Summary))


def read_run(path: Path) -> Config:
    """The config that a run's folder keeps.

    Raises:
        RunError: it is no run's folder, or the config cannot be read.
    """
    file = path / "config.toml"
    try:
        if not file.is_file():
            raise RunError(f"{path} is not the folder of a run: it has no config.toml")
        config = config_of(str(file))
        check_sizes(config)
    except ConfigError as error:
        raise RunError(str(error).replace("\n", "; ")) from None
    except OSError as error:
        raise RunError(f"{file}: {error.strerror}") from None
    return config


def read_ledger(path: Path, config: Config) -> list[dict[str, Any]]:
    """The whole lines of ledger.jsonl; none where there is no file.

    Raises:
        RunError: a line is not the ledger's, or is of a worker or step that the run does not have.
    """
    entries = _lines(path, _ENTRY)
    if unknown := {entry["kind"] for entry in entries} - _WRITTEN:
        raise RunError(f"{path}: entries of unknown kind: {_few(sorted(unknown))}")
    named = {worker for entry in entries for worker in (entry["worker"], *entry.get("others", ()))} - {None}
    if strangers := named - set(range(config.p)):
        raise RunError(f"{path}: entries of workers {_few(sorted(strangers))}, but they are 0 to {config.p - 1}")
    if late := [entry["step"] for entry in entries if entry["step"] > config.steps + _AHEAD]:
        raise RunError(f"{path}: an entry of step {max(late)}, but the run has {config.steps}")
    return entries


def read_steps(path: Path, config: Config, timed: bool) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl; none where there is no file. Scores that are not finite are None.

    Args:
        path: of the file.
        config: of the run.
        timed: whether seconds and bytes are needed.

    Raises:
        RunError: a line is not that of a step.
    """
    steps = _lines(path, _STEP if timed else _MADE)
    if late := [step["step"] for step in steps if step["step"] > config.steps]:
        raise RunError(f"{path}: a line of step {max(late)}, but the run has {config.steps}")
    if timed and (gone := [part for part in PARTS if any(part not in step["seconds"] for step in steps)]):
        raise RunError(f"{path}: steps without the seconds of {', '.join(gone)}, as of another version")
    return steps


def read_summary(folder: RunFolder, config: Config) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
        RunError: there is none, or it is not this run's.
    """
    path = folder.path / "summary.json"
    summary: dict[str, Any] = _parse(path, _read(path), _SUMMARY, "")
    if not set(PARTS) | {"total"} <= summary["seconds_per_step"].keys():
        raise RunError(f"{path}: seconds_per_step lacks a part, as of another version")
    if not len(summary["ledger"]) == len(summary["hosts"]) == config.p:
        raise RunError(f"{path}: it is not of p = {config.p} workers, as config.toml is")
    return summary


def scores_in(line: dict[str, Any]) -> dict[str, float | None]:
    """The scores in a line of metrics.jsonl, by name; None: not finite."""
    return {name: finite(value) for name, value in line.items() if name not in TAKEN and is_score(value)}


def is_score(value: Any) -> bool:
    """Whether a JSON value is a number, or stands for one that is not finite."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def finite(value: float | None) -> float | None:
    """The number; None where it is not finite, as in files of older versions."""
    return value if value is not None and math.isfinite(value) else None


def _lines(path: Path, kind: TypeAdapter[T]) -> list[Any]:
    # The last line may be half written.
    whole = _read(path).split(b"\n")[:-1] if path.exists() else []
    return [_parse(path, line, kind, f"line {number}: ") for number, line in enumerate(whole, 1)]


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise RunError(f"{path} is no file")
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: {error.strerror}") from None


def _parse(path: Path, text: bytes, kind: TypeAdapter[T], where: str) -> Any:
    try:
        return kind.validate_python(json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise RunError(f"{path}: {where}{field + ': ' if field else ''}{first['msg']}") from None
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8, an integer of thousands of digits
        what = "a line is not JSON" if where else "not JSON"
        raise RunError(f"{path}: {what}: {where}{error}") from None


def _few(values: list[Any]) -> str:
    return ", ".join(map(str, values[:3])) + ", ..." * (len(values) > 3)
