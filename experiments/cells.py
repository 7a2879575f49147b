"""What the experiments without MPI share: a cell's result is kept in a file, and many make a table."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def kept(compute: Callable[..., Any], folder: Path, resume: bool, **parameters: float) -> Any:
    """compute(**parameters), as JSON values, or what it gave before.

    Args:
        compute: what one cell of an experiment is.
        folder: of the results, one file per cell, named by its parameters.
        resume: whether a result that is there, and can be read, counts.
        parameters: of the cell.
    """
    path = folder / ("-".join(f"{name}{value}" for name, value in parameters.items()) + ".json")
    if resume:
        with contextlib.suppress(FileNotFoundError, ValueError):  # a damaged one is made again
            return json.loads(path.read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(compute(**parameters)), encoding="utf-8")
    unfinished.replace(path)
    return json.loads(path.read_bytes())


def write_csv(rows: list[dict[str, Any]], path: Path) -> None:
    """One line per row, under the keys of the first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of the rows, under the keys of the first."""

    def line(cells: Iterable[Any]) -> str:
        return "| " + " | ".join(map(str, cells)) + " |\n"

    return line(rows[0]) + "|---" * len(rows[0]) + "|\n" + "".join(line(row.values()) for row in rows)
