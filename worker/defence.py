"""The aggregation at the PS, as colluders play it through before they decide what to send."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from detox.aggregators import Hierarchy


@dataclass(frozen=True)
class Defence:
    """How the PS turns votes into an update.

    Attributes:
        hierarchy: the aggregation.
        f: bad votes that it has to tolerate.
        files: votes per step.
        r: workers per group; a strict majority of them decides its vote.
        d: entries of a vector that are aggregated.
    """

    hierarchy: Hierarchy
    f: int
    files: int
    r: int
    d: int

    def rehearse(
        self, honest: Mapping[int, np.ndarray], held: Iterable[int], rng: Callable[[], np.random.Generator]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """What the PS would make of an answer that all colluders send, (d + b,) -> (d,).

        Files of which nobody knows the honest vector are played by the known ones, in turn.

        Args:
            honest: by file, the honest vectors that are known, at least one.
            held: the file of each colluder.
            rng: makes the generator that shuffles the votes; that of the PS is secret.
        """
        colluders = Counter(held)
        won = [file for file in range(self.files) if colluders[file] > self.r // 2]
        stand_in = cycle(honest.values())
        votes = np.stack([honest[file] if file in honest else next(stand_in) for file in range(self.files)])
        votes = votes[:, : self.d]

        def aggregate(answer: np.ndarray) -> np.ndarray:
            votes[won] = answer[: self.d]
            update: np.ndarray = self.hierarchy(votes, f=self.f, rng=rng())
            return update

        return aggregate
