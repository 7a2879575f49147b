"""What a run says on the terminal: one line per interval, or a progress bar."""

import contextlib
from collections import Counter
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from detox.ps.stopwatch import PARTS

ProgressKind = Literal["bar", "lines", "none"]


class Reporter:
    """Prints the PS's view of a run.

    Args:
        kind: "bar", "lines" or "none" (errors and warnings only).
        steps: the length of the run.
    """

    def __init__(self, kind: ProgressKind, steps: int) -> None:
        self._kind = kind
        # mpirun gives each rank a terminal, whatever its own output is.
        self._console = Console(highlight=False, soft_wrap=True, force_terminal=kind == "bar")
        self._width = len(str(steps))
        self._score = ""
        self._bar = None
        if kind == "bar":
            says = TextColumn("{task.description}")
            eta = TextColumn("ETA"), TimeRemainingColumn()
            self._bar = Progress(MofNCompleteColumn(), BarColumn(), *eta, says, console=self._console)
            self._bar.start()
            self._row = self._bar.add_task("", total=steps)

    def say(self, text: str) -> None:
        """A sentence that every run should see."""
        if self._kind != "none":
            self._print(text)

    def warn(self, text: str) -> None:
        """A sentence that nobody should miss."""
        self._print(f"warning: {text}", style="yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        # A terminal may go before the run does: where mpirun's daemon is lost, writing to it is an error; or a task
        # closes it.
        with contextlib.suppress(OSError, ValueError):
            self._console.print(text, markup=False, style=style)

    def interval(
        self,
        step: int,
        scores: dict[str, float | None],
        seconds: dict[str, float],
        bytes_in: float,
        votes: Counter[str],
    ) -> None:
        """One line: mean milliseconds by part and bytes per step; votes unanimous/majority/none since the last.

        Behind them, where there are any, the files that the PS computed itself.

        Args:
            step: the newest.
            scores: by name, of the newest evaluation since the last line; empty where there was none.
            seconds: by part, the mean of a step.
            bytes_in: into the PS, the mean of a step.
            votes: how groups voted since the last line.
        """
        score = "".join(f"  {name} {score_in_words(name, value)}" for name, value in scores.items())
        parts = " + ".join(f"{name} {1000 * seconds[name]:.1f}" for name in PARTS)
        counts = f"{votes['unanimous']}/{votes['majority']}/{votes['none']}"
        counts += f"/{votes['recomputed']} recomputed" if votes["recomputed"] else ""
        line = (
            f"step {step:{self._width}d}{score}  {1000 * sum(seconds.values()):.1f} ms = {parts}  "
            f"in {bytes_in / 1e6:.3f} MB  votes {counts}"
        )
        self._score = score.strip() or self._score
        if self._bar is not None:
            self._bar.update(self._row, description=f"{self._score}  votes {counts}")
        else:
            self.say(line)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(self._row, completed=step)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.stop()


def scores_in_words(scores: dict[str, float | None]) -> str:
    """ "accuracy 97.00%, loss 0.1000"."""
    return ", ".join(f"{name} {score_in_words(name, value)}" for name, value in scores.items())


def score_in_words(name: str, value: float | None) -> str:
    """A score; None: it is not finite."""
    if value is None:
        return "not finite"
    return f"{value:.2%}" if name == "accuracy" else f"{value:.4f}"
