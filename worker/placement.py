"""Which workers are Byzantine in a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Literal

from detox.assignment.seeds import stream
from detox.assignment.worst import worst

How = Literal["random", "fixed", "worst", "spread", "group", "optimal"]


@dataclass(frozen=True)
class Placement:
    """The q Byzantine workers of each step.

    "random" draws them anew each step, "fixed" once. The others go by groups: "worst" takes a strict majority of as
    many as q allows, (r+1)/2 workers each, and the rest go where the next group would be; "spread" takes one worker of
    each group, then a second of each, and so on; "group" takes whole groups; "optimal" takes those that spoil most
    files, as far as a search finds them, see detox.assignment.worst.

    Args:
        how: one of the six.
        p: workers.
        q: Byzantine workers, q <= p.
        seed: of the draw.
        groups: what the adversary believes the holders of each file to be; "random" and "fixed" need none, and all but
            "optimal" need files that share none.
    """

    how: How
    p: int
    q: int
    seed: int
    groups: Sequence[Sequence[int]] = ()

    def byzantine(self, step: int) -> frozenset[int]:
        """The Byzantine workers of `step`."""
        if self.how in ("random", "fixed"):
            return _draw(self.p, self.q, self.seed, step if self.how == "random" else 0)
        if self.how == "optimal":
            return frozenset(worst(tuple(map(tuple, self.groups)), self.q).workers)
        return frozenset(self._order()[: self.q])

    def framed(self, step: int) -> frozenset[int]:
        """As many honest workers, drawn whenever the Byzantine ones are: whom these try to be mistaken for."""
        byzantine = self.byzantine(step)
        honest = [worker for worker in range(self.p) if worker not in byzantine]
        rng = stream(self.seed, "framed", step if self.how == "random" else 0)
        return frozenset(rng.choice(honest, min(self.q, len(honest)), replace=False).tolist())

    def _order(self) -> list[int]:
        """All workers, the first to turn Byzantine first."""
        if self.how == "group":
            return [worker for group in self.groups for worker in group]
        if self.how == "spread":
            return [worker for layer in zip_longest(*self.groups) for worker in layer if worker is not None]
        chosen = [worker for group in self.groups for worker in group[: (len(group) + 1) // 2]]
        rest = [worker for group in self.groups for worker in group[(len(group) + 1) // 2 :]]
        return chosen + rest


@lru_cache(maxsize=16)  # each worker of a rank asks, in each step
def _draw(p: int, q: int, seed: int, counter: int) -> frozenset[int]:
    """q of p workers."""
    return frozenset(stream(seed, "placement", counter).choice(p, q, replace=False).tolist())
