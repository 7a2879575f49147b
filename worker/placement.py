"""Which workers are Byzantine in a step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from detox.tasks.seeds import stream


@dataclass(frozen=True)
class Placement:
    """The q Byzantine workers of each step.

    "random" draws them anew each step, "fixed" once. "worst" takes a strict majority of as many groups as q
    allows, (r+1)/2 workers each; the rest go where the next group would be.

    Args:
        how: one of the three.
        p: workers.
        q: Byzantine workers.
        seed: of the draw.
        groups: what the adversary believes the groups to be, for "worst".
    """

    how: Literal["random", "fixed", "worst"]
    p: int
    q: int
    seed: int
    groups: Sequence[Sequence[int]] = ()

    def byzantine(self, step: int) -> frozenset[int]:
        """The Byzantine workers of `step`."""
        if self.how == "random":
            return self._draw(step)
        if self.how == "fixed":
            return self._draw(0)
        chosen = [worker for group in self.groups for worker in group[: (len(group) + 1) // 2]]
        rest = [worker for group in self.groups for worker in group[(len(group) + 1) // 2 :]]
        return frozenset((chosen + rest)[: self.q])

    def _draw(self, counter: int) -> frozenset[int]:
        drawn = stream(self.seed, "placement", counter).choice(self.p, self.q, replace=False)
        return frozenset(drawn.tolist())
