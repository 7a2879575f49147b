"""The graph of disagreements in a ledger: which two workers contradicted each other, and what that proves."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from detox.config import Config
from detox.config.derived import unsound
from detox.errors.words import counted
from detox.ps.disagreement import Conclusion, conclude
from detox.ps.events import EventKind, Trait, kinds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROWS = 12  # of the table; behind the proven come those that contradicted the most
_WHOM = 8  # neighbours that a row names


@dataclass(frozen=True)
class Contradictions:
    """Who contradicted whom.

    Attributes:
        steps: how many steps, by the two workers, the lower id first; the most first.
        told: the workers that the PS found proven, and the neighbours that it named.
        acts: workers that a single act of theirs proves.
        why_not: why all this proves nothing more, in words; empty where it does.
    """

    steps: Mapping[tuple[int, int], int]
    told: Mapping[int, tuple[int, ...]]
    acts: frozenset[int]
    why_not: str

    @classmethod
    def read(cls, entries: Iterable[Mapping[str, Any]], config: Config) -> "Contradictions":
        """Those in the lines of a ledger."""
        seen = set[tuple[int, int, int]]()
        told, acts = dict[int, tuple[int, ...]](), set[int]()
        for entry in entries:
            kind, worker, others = entry["kind"], entry["worker"], entry.get("others", ())
            if kind == EventKind.PROVEN:
                told[worker] = tuple(others)
            elif worker is not None:
                seen |= {(min(worker, other), max(worker, other), entry["step"]) for other in others}
                if kind in kinds(Trait.PROOF | Trait.OFFENCE):
                    acts.add(worker)
        steps = Counter((one, other) for one, other, _ in sorted(seen))
        return cls(dict(steps.most_common()), told, frozenset(acts), unsound(config) or _forgets(config))

    @cached_property
    def neighbours(self) -> dict[int, Counter[int]]:
        """Of each worker that contradicted another, those, and in how many steps."""
        found: dict[int, Counter[int]] = {}
        for (one, other), steps in self.steps.items():
            found.setdefault(one, Counter())[other] = steps
            found.setdefault(other, Counter())[one] = steps
        return found

    def conclude(self, q: int) -> Conclusion:
        """What they prove if at most q workers lied in the whole run, beside what the PS found."""
        if self.why_not:
            return Conclusion(dict.fromkeys(sorted(self.acts), ()) | dict(self.told))
        graph = {worker: set(others) for worker, others in self.neighbours.items()}
        found = conclude(graph, q, self.acts)
        return Conclusion(found.proven | dict(self.told), found.exceeded)


def _forgets(config: Config) -> str:
    if config.quarantine_policy == "graph" and config.quarantine.window is not None:
        return (
            f"quarantine.window: q bounds the workers that lie within {config.quarantine.window} steps, not in the run"
        )
    return ""


COLUMNS = ("worker", "others", "contradicted, in steps", "proven by")


def rows(contradictions: Contradictions, q: int) -> list[tuple[str, str, str, str]]:
    """For each worker that is proven, and for those that contradicted the most others, what COLUMNS says."""
    proven, out = contradictions.conclude(q).proven, []
    for worker in _order(contradictions, proven)[: max(_ROWS, len(proven))]:
        others = contradictions.neighbours.get(worker, Counter())
        whom = _few(f"{other} ({steps})" for other, steps in others.most_common())
        by = "" if worker not in proven else _few(proven[worker]) or "its own acts"
        out.append((str(worker), str(len(others)), whom, by))
    return out


def table(contradictions: Contradictions, q: int) -> Table:
    """The rows for a terminal."""
    out = Table(*COLUMNS, box=SIMPLE_HEAD, show_edge=False)
    for column in out.columns[:2]:
        column.justify = "right"
    for row in rows(contradictions, q):
        out.add_row(*row)
    return out


def as_json(contradictions: Contradictions, q: int) -> dict[str, Any]:
    """All that the table says; each edge as its two workers and its steps."""
    conclusion = contradictions.conclude(q)
    return {
        "edges": [[*pair, steps] for pair, steps in contradictions.steps.items()],
        "proven": {worker: list(others) for worker, others in conclusion.proven.items()},
        "exceeded": conclusion.exceeded,
        "why_not": contradictions.why_not,
    }


def in_words(contradictions: Contradictions, q: int, explained: bool = True) -> str:
    """What follows, given that at most q workers lied; or, where dissents show that more have, that nothing does."""
    conclusion = contradictions.conclude(q)
    rows, all_ = max(_ROWS, len(conclusion.proven)), len(_order(contradictions, conclusion.proven))
    rest = f"{counted(all_ - rows, 'more worker')} contradicted others.\n" if all_ > rows else ""
    if contradictions.why_not:
        return f"{rest}Of two that contradict each other nobody is proven here: {contradictions.why_not}."
    if conclusion.exceeded:
        return f"{rest}More than q = {q} workers have lied: {conclusion.exceeded}."
    if not explained:
        return f"{rest}One of each two has lied, whoever won the vote. Which, does not follow: q is too small."
    named = f"{counted(len(conclusion.proven), 'worker')} must have" if conclusion.proven else "nobody must have"
    return f"{rest}One of each two has lied, whoever won the vote: {named}, if at most q = {q} have."


def draw(axes: "Axes", contradictions: Contradictions, q: int, p: int) -> None:
    """Draws the graph: workers in a circle, thicker edges for more steps, the proven filled.

    Args:
        axes: to draw on.
        contradictions: the edges.
        q: workers that lied, at most.
        p: workers.
    """
    proven = contradictions.conclude(q).proven
    angles = 2 * np.pi * np.arange(p) / p
    x, y = np.sin(angles), np.cos(angles)
    most = max(contradictions.steps.values(), default=1)
    for (one, other), steps in contradictions.steps.items():
        colour = "#d7191c" if one in proven or other in proven else "#7d8794"
        axes.plot(x[[one, other]], y[[one, other]], color=colour, alpha=0.35, linewidth=0.5 + 2.5 * steps / most)
    colours = [
        "#000000" if w in proven else "#c7cdd4" if w in contradictions.neighbours else "#eef3ee" for w in range(p)
    ]
    axes.scatter(x, y, s=min(120, 8000 / p), c=colours, edgecolors="#7d8794", zorder=3)
    for worker in range(p):
        if p <= 100 or worker in proven:
            axes.text(1.1 * x[worker], 1.1 * y[worker], str(worker), ha="center", va="center", fontsize=8)
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), aspect="equal")
    axes.axis("off")
    axes.set_title(f"who contradicted whom; black: proven, if at most q = {q} lied", fontsize=10)


def _order(contradictions: Contradictions, proven: Iterable[int]) -> list[int]:
    """The proven, then those that contradicted the most others."""
    neighbours = contradictions.neighbours
    key = {
        worker: (worker not in proven, -len(neighbours.get(worker, ())), worker) for worker in {*proven, *neighbours}
    }
    return sorted(key, key=key.__getitem__)


def _few(names: Iterable[object]) -> str:
    words = list(map(str, names))
    return ", ".join(words[:_WHOM]) + ", ..." * (len(words) > _WHOM)
