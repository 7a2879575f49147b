"""How soon the graph of disagreements proves all Byzantine workers, and whether ever an honest one: simulated.

python -m benchmarks.disagreement [--runs 200] [--histories 100000]

The simulator is that of detox-ps plan (detox.reports.simulation). The histories are those of tests/histories.py: wrong
claims, framing, crashes, late claims, q of p wrong within a window.
"""

import argparse
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from random import Random

from benchmarks.measure import machine
from detox.config import Config
from detox.ps.disagreement import Disagreements
from detox.reports.choices import Choice
from detox.reports.simulation import Behaviour, simulate
from tests.histories import History

LONGEST = 10_000
"""Steps with lies that are simulated at the most."""


def setting(
    p: int, q: int, r: int, *, rate: float = 1.0, when: str = "always", **checks: object
) -> tuple[str, Config, Behaviour]:
    """Its name, and what to simulate; `checks` as in Choice.create."""
    choice = Choice.create(p, q, r, **checks)
    assert choice is not None
    words = {"always": "always", "majority": "only where they win", "unanimous": "only where all are theirs"}[when]
    name = (
        f"{p}, {q}, {str(choice).removeprefix('r = ')} | {words if rate == 1 else f'each in {rate:.0%} of the steps'}"
    )
    return name, choice.config, Behaviour(q, rate, when=when)


SETTINGS = (
    *(setting(*size) for size in ((45, 5, 3), (45, 5, 5), (225, 25, 3))),
    *(setting(45, 5, r, lazy=True) for r in (3, 5)),
    *(setting(45, 5, 3, rate=rate) for rate in (0.1, 0.01)),
    *(
        setting(*size, when="majority")
        for size in ((45, 5, 3), (45, 5, 5), (45, 9, 3), (225, 25, 3), (45, 10, 5))
    ),
    *(setting(45, 5, 3, when="unanimous", audited=audited) for audited in (1, 2)),
    *(setting(45, 5, 3, when="unanimous", audited=audited, lazy=True) for audited in (1, 2)),
    setting(45, 5, 1, auditors=1),
    setting(45, 5, 1, audited=1),
)  # fmt: skip


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
    print("| p, q, r | lie | steps until no more lies: median, most | bad votes: median, most | honest workers out |")
    print("|---|---|---|---|---|")
    with ProcessPoolExecutor() as pool:
        for name, config, behaviour in SETTINGS if options.runs else ():
            runs = list(
                pool.map(partial(simulate, config, behaviour, longest=LONGEST), range(options.runs), chunksize=10)
            )
            named = [LONGEST if one.named is None else one.named for one in runs]
            bad = [one.bad for one in runs]
            cells = (f"{statistics.median(some):g}, {max(some)}" for some in (named, bad))
            print(f"| {name} | {' | '.join(cells)} | {sum(one.honest for one in runs)} |", flush=True)
        start = time.perf_counter()
        parts = [range(first, min(first + 1000, options.histories)) for first in range(0, options.histories, 1000)]
        honest, steps, byzantine = map(sum, zip((0, 0, 0), *pool.map(honest_proven, parts), strict=False))
    print(
        f"\n{options.histories} random histories of {steps} steps: {byzantine} Byzantine proven, {honest} honest "
        f"({time.perf_counter() - start:.0f} s)"
    )


if __name__ == "__main__":
    main()
