"""How soon the graph of disagreements proves all Byzantine workers, and whether ever an honest one: simulated.

python -m benchmarks.disagreement [--runs 200] [--histories 100000]

Groups are drawn anew in each step, Byzantine workers of a group claim the same, and who is proven is out from the next
step on. The histories are those of tests/histories.py: wrong claims, framing, crashes, late claims, q of p wrong within
a window.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from random import Random

from benchmarks.measure import machine
from detox.assignment.schemes import RedrawnGroups
from detox.ps.disagreement import Disagreements
from detox.ps.events import Event, EventKind
from tests.histories import TRUTH, History, vote

Lies = Callable[[Random, Sequence[int], Set[int]], Set[int]]
"""Which of the Byzantine workers in a group lie."""


def now_and_then(share: float) -> Lies:
    """Each by itself, in a share of the steps."""
    return lambda random, group, byzantine: {worker for worker in sorted(byzantine) if random.random() < share}


def where_they_win(random: Random, group: Sequence[int], byzantine: Set[int]) -> Set[int]:
    """Where they are the majority, and somebody is left to disagree."""
    return byzantine if len(group) < 2 * len(byzantine) < 2 * len(group) else set()


def where_alone(random: Random, group: Sequence[int], byzantine: Set[int]) -> Set[int]:
    """Where nobody is left to disagree."""
    return byzantine if len(byzantine) == len(group) else set()


LIES: dict[str, Lies] = {
    "always": now_and_then(1),
    "in 10 %": now_and_then(0.1),
    "in 1 %": now_and_then(0.01),
    "where they win": where_they_win,
    "where alone": where_alone,
}
FEWEST: dict[str, Callable[[int], int]] = {"where they win": lambda n: n // 2 + 1, "where alone": lambda n: n}
"""How many Byzantine workers that takes, in a group of n; one unless it is said here."""


@dataclass(frozen=True)
class Setting:
    """p workers, q Byzantine workers, r copies of each file.

    Attributes:
        lies: a key of LIES.
        lazy: (r + 1) / 2 copies, and another while there are not so many equal ones.
        check: a file in so many, in steps, that the PS computes itself; 0: none.
    """

    p: int
    q: int
    r: int
    lies: str
    lazy: bool = False
    check: int = 0

    def __str__(self) -> str:
        how = " lazy" * self.lazy + (f", PS checks 1 file in {self.check} steps" if self.check else "")
        return f"{self.p}, {self.q}, {self.r}{how} | {self.lies}"

    @property
    def first(self) -> int:
        """How many workers are asked for a file at first."""
        return (self.r + 1) // 2 if self.lazy else self.r


@dataclass(frozen=True)
class Run:
    """What came of a run: its steps, votes that Byzantine workers won, honest workers that were proven."""

    steps: int
    bad: int
    honest: int


SETTINGS = (
    *(Setting(*size, "always") for size in ((45, 5, 3), (45, 5, 5), (225, 25, 3), (45, 5, 2))),
    *(Setting(45, 5, 3, lies) for lies in ("in 10 %", "in 1 %")),
    *(
        Setting(*size, "where they win")
        for size in ((45, 5, 3), (45, 5, 5), (45, 9, 3), (225, 25, 3), (45, 10, 5))
    ),
    *(Setting(45, 5, 3, "where alone", check=steps) for steps in (1, 10)),
    *(Setting(45, 5, r, "always", lazy=True) for r in (3, 5)),
    *(Setting(45, 5, 3, "where alone", lazy=True, check=steps) for steps in (1, 10)),
)  # fmt: skip


def run(setting: Setting, seed: int) -> Run:
    """One run, until all Byzantine workers are proven, or too few are left to lie."""
    random, graph, out = Random(seed), Disagreements(setting.q), set[int]()
    byzantine = set(random.sample(range(setting.p), setting.q))
    fewest = FEWEST.get(setting.lies, lambda n: 1)(setting.first)
    step = bad = 0
    while len(byzantine - out) >= fewest:
        step += 1
        files = list(_holders(setting, random, seed, step, out))
        checked = random.randrange(len(files)) if setting.check and step % setting.check == 0 else None
        for file, holders in enumerate(files):
            group = holders[: setting.first]
            lying = LIES[setting.lies](random, group, byzantine & set(group))
            if not lying:
                continue
            lying |= byzantine & set(holders[setting.first :])
            claims = dict[int, str]()
            for worker in holders:
                if len(claims) < setting.first or max(Counter(claims.values()).values()) < setting.first:
                    claims[worker] = "lie" if worker in lying else TRUTH
            events = vote(step, file, holders, claims)
            if file == checked:
                events += [Event(EventKind.CONVICTED, step, worker, file) for worker in lying & claims.keys()]
            else:
                bad += 2 * len(lying & claims.keys()) > setting.r
            graph.observe(step, events)
        out = set(graph.proven(step))
    return Run(step, bad, len(out - byzantine))


def _holders(setting: Setting, random: Random, seed: int, step: int, out: Set[int]) -> Iterator[list[int]]:
    """The workers of each file, in the order in which they are asked."""
    left = [worker for worker in range(setting.p) if worker not in out]
    for group in RedrawnGroups(setting.first, seed).draw(step, left).holders:
        others = random.sample(sorted(set(left) - set(group)), setting.r - setting.first)
        yield [*random.sample(group, len(group)), *others]


def honest_proven(seeds: range) -> tuple[int, int, int]:
    """Of a random history each: honest workers that were proven, steps, and Byzantine workers that were proven."""
    honest = steps = byzantine = 0
    for seed in seeds:
        history = History.draw(Random(seed))
        graph, proven = Disagreements(history.q, history.window), set[int]()
        for step, observed in history.observed():
            for at, events in observed:
                graph.observe(at, events)
            found = graph.proven(step).keys()
            honest += len(found - history.wrong_until(step))
            proven |= found
            steps += 1
        byzantine += len(proven)
    return honest, steps, byzantine


def main() -> None:
    """Prints the table, and what came of the histories."""
    parser = argparse.ArgumentParser("benchmarks.disagreement", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="of each setting")
    parser.add_argument("--histories", type=int, default=100_000)
    options = parser.parse_args()
    print(machine(), end="\n\n")
    print("| p, q, r | lie | steps until no more lies: median, max | bad votes: median, max | honest workers proven |")
    print("|---|---|---|---|---|")
    for setting in SETTINGS if options.runs else ():
        runs = [run(setting, seed) for seed in range(options.runs)]
        steps, bad = ([getattr(one, what) for one in runs] for what in ("steps", "bad"))
        cells = (f"{statistics.median(some):g}, {max(some)}" for some in (steps, bad))
        print(f"| {setting} | {' | '.join(cells)} | {sum(one.honest for one in runs)} |", flush=True)
    start = time.perf_counter()
    parts = [range(first, min(first + 1000, options.histories)) for first in range(0, options.histories, 1000)]
    with ProcessPoolExecutor() as pool:
        honest, steps, byzantine = map(sum, zip(*pool.map(honest_proven, parts), strict=True))
    print(
        f"\n{options.histories} random histories of {steps} steps: {byzantine} Byzantine proven, {honest} honest "
        f"({time.perf_counter() - start:.0f} s)"
    )


if __name__ == "__main__":
    main()
