"""Histories of claims in which at most q workers are wrong within any window, for the graph of disagreements."""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from random import Random

from detox.ps.events import Event, EventKind
from detox.reports.simulation import TRUTH, count, said

Behaviour = Callable[[Random, Sequence[int], Set[int], int], str | None]


def vote(step: int, file: int, holders: Sequence[int], claims: Mapping[int, str | None]) -> list[Event]:
    """What the vote on a file says of its holders; a claim may be missing, or None."""
    return said(count(tuple(holders), len(holders), claims), step, file)


def _wins(group: Sequence[int], wrong: Set[int]) -> bool:
    return 2 * len(wrong & set(group)) > len(group)


BEHAVIOURS: dict[str, Behaviour] = {
    "always": lambda random, group, wrong, target: "lie",
    "alone": lambda random, group, wrong, target: f"lie {random.random()}",
    "rarely": lambda random, group, wrong, target: "lie" if random.random() < 0.2 else TRUTH,
    "where they win": lambda random, group, wrong, target: "lie" if _wins(group, wrong) else TRUTH,
    "where they lose": lambda random, group, wrong, target: TRUTH if _wins(group, wrong) else "lie",
    "framing": lambda random, group, wrong, target: "lie" if target in group else TRUTH,
    "anything": lambda random, group, wrong, target: random.choice([TRUTH, "lie", "other lie", None]),
}
"""What a wrong worker claims: from its group, who is wrong in the step, and an honest worker to frame."""


@dataclass(frozen=True)
class History:
    """A random history, of a few workers and steps.

    Attributes:
        p, q, r: workers; wrong within any window, at most; in a group.
        window: steps; None: all.
        steps: how many.
        wrong: of each step from 1 on, the workers that may be wrong in it.
    """

    p: int
    q: int
    r: int
    window: int | None
    steps: int
    wrong: dict[int, Set[int]]
    random: Random

    @classmethod
    def draw(cls, random: Random, largest: int = 16) -> "History":
        """Draws sizes, and who is wrong when: q at a time, each relieved by another a window later or more."""
        r = random.choice([2, 3, 3, 5])
        p = random.randint(r + 1, max(r + 1, largest))
        q = random.randint(0, min(p, 5))
        window = random.choice([None, 1, 3, 6])
        steps = random.randint(1, 20)
        order = random.sample(range(p), p)
        wrong: dict[int, Set[int]] = {step: set[int]() for step in range(1, steps + 1)}
        for _ in range(q):
            step = 1
            while order and step <= steps:
                worker, end = order.pop(), steps if window is None else random.randint(step, steps)
                for at in range(step, end + 1):
                    wrong[at] = wrong[at] | {worker}
                step = end + (window or steps)
        return cls(p, q, r, window, steps, wrong, random)

    def wrong_until(self, step: int) -> set[int]:
        """Who may have been wrong within the window that ends with a step."""
        first = 1 if self.window is None else max(1, step - self.window + 1)
        return set[int]().union(*(self.wrong[at] for at in range(first, step + 1)))

    def observed(self) -> Iterator[tuple[int, list[tuple[int, list[Event]]]]]:
        """Each step, and by step the events that are new in it: its own, and those of earlier ones with late claims."""
        random, names = self.random, list(BEHAVIOURS)
        colluding = random.choice([None, *names])
        behaviours = [BEHAVIOURS[colluding or random.choice(names)] for _ in range(self.p)]
        crashed = {worker for worker in range(self.p) if random.random() < 0.1}
        target = random.randrange(self.p)
        to_come: dict[int, list[tuple[int, list[Event]]]] = {}
        for step in range(1, self.steps + 1):
            early, late = list[Event](), list[Event]()
            order, wrong = random.sample(range(self.p), self.p), self.wrong[step]
            for file, first in enumerate(range(0, self.p - self.r + 1, self.r)):
                group = order[first : first + self.r]
                if not wrong & set(group):
                    continue  # honest workers contradict nobody
                claims = {
                    worker: behaviours[worker](random, group, wrong, target) if worker in wrong else TRUTH
                    for worker in group
                    if worker not in crashed
                }
                in_time = {worker: value for worker, value in claims.items() if random.random() < 0.8}
                early += vote(step, file, group, in_time)
                late += vote(step, file, group, claims)
                early += [Event(EventKind.LIED, step, w, file) for w in group if w in wrong and random.random() < 0.02]
            to_come.setdefault(step + random.randrange(4), []).append((step, late))
            yield step, [(step, early), *to_come.pop(step, [])]
