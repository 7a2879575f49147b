"""A score to be reached: which one, how much of it, and from which side."""

import math
import re
from argparse import ArgumentTypeError
from dataclasses import dataclass

from detox.ps.best import KNOWN, Direction

_FORM = re.compile(r"(?P<name>.*?\S)\s*(?P<sign><=|>=|=)\s*(?P<value>[^<>=]+)")
_SIGNS: dict[str, Direction] = {">=": "higher", "<=": "lower"}


@dataclass(frozen=True)
class Target:
    """What a run is timed to.

    Attributes:
        name: of a score.
        value: that it has to have at least, or at most.
        better: which of these: whether a higher or a lower score is better.
    """

    name: str
    value: float
    better: Direction

    def met(self, score: float | None) -> bool:
        """Whether a score is as good; one that is not finite, None, never is."""
        if score is None:
            return False
        return score >= self.value if self.better == "higher" else score <= self.value


def parse_target(text: str) -> Target:
    """For argparse: NAME=VALUE of a score of which it is known what is better, else NAME>=VALUE or NAME<=VALUE."""
    form = _FORM.fullmatch(text.strip())
    if form is None:
        raise ArgumentTypeError(f"a target is NAME=VALUE, such as accuracy=0.9 or loss=0.3, got {text!r}")
    name, sign, value = form["name"], form["sign"], _number(form["value"])
    if name == "accuracy" and not 0 <= value <= 1:
        raise ArgumentTypeError(f"an accuracy is a number from 0 to 1, got {form['value']}")
    better = _SIGNS.get(sign, KNOWN.get(name))
    if better is None:
        raise ArgumentTypeError(
            f"whether a higher or a lower {name} is better is not known: write '{name}>={value:g}' or "
            f"'{name}<={value:g}'"
        )
    return Target(name, value, better)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"a number is needed, got {text}")
    return value
