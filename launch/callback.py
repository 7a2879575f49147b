"""The user's own function that is told the numbers of a run while it trains: for MLflow, W&B, or a file."""

from collections.abc import Callable, Mapping
from typing import Any

from detox.tasks import TaskError
from detox.tasks.own import own
from detox.tasks.users import users_code


class Callback:
    """Calls the function that `metrics` names; what it raises is told once, and the training goes on.

    Args:
        name: "my_module:log".
        warn: told of the first error.

    Raises:
        TaskError: there is no such function.
    """

    def __init__(self, name: str, warn: Callable[[str], object]) -> None:
        self._log = own(f"metrics = {name}", name)
        if not callable(self._log):
            raise TaskError(f"metrics = {name}: it is no function of a step and a dict of numbers")
        self._name = name
        self._warn = warn
        self._failed = False

    def __call__(self, step: int, line: Mapping[str, Any]) -> None:
        """Passes on what a line of metrics.jsonl says of a step, as numbers by name."""
        self._try(lambda: self._log(step, numbers(line)))

    def close(self) -> None:
        """At the end of a job: calls the function's own `close`, if it has one."""
        if (close := getattr(self._log, "close", None)) is not None:
            self._try(close)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            with users_code(f"metrics = {self._name}: it"):
                act()
        except TaskError as error:
            if not self._failed:
                self._warn(f"{error}; this is said once, and the training goes on")
            self._failed = True


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """A line of metrics.jsonl as numbers by name: scores, bytes_in, seconds, seconds_PART of each part, and so on.

    Scores that are not finite are NaN; skipped is 1 in a step without an update.
    """
    parts = line.get("seconds", {})
    total = {"seconds": sum(parts.values())} if parts else {}
    apart = ("seconds", "waits", "computing")
    plain = {name: value for name, value in line.items() if name not in ("step", "skipped", *apart)}
    return {
        **total,
        **{f"{name}_{part}": value for name in apart for part, value in line.get(name, {}).items()},
        **{name: float("nan") if value is None else value for name, value in plain.items()},
        **({"skipped": 1} if "skipped" in line else {}),
    }
