"""Runs of which only the claims are simulated: votes that are bad until whoever lies is proven, and when that is.

Assignment, tally, graph and quarantine are those of a run; who claims what is made up. No gradient is computed, and a
step of 45 workers takes about 0.2 ms.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

from detox.config import Config
from detox.ps.audit import Audit
from detox.ps.ballots import Tally
from detox.ps.events import Event

TRUTH = "truth"
_SOON = 2  # steps from a lie to the first in which whoever it proves is out, see GraphQuarantine


@dataclass(frozen=True)
class Behaviour:
    """What is wrong with some workers, which are drawn at random.

    Attributes:
        wrong: how many they are.
        rate: the share of steps in which each of them is wrong, independently of the others.
        alike: whether they claim the same: colluders do, broken hardware does not.
        when: as attack.when. always: about any file; majority: where so many of those that are asked at first are
            wrong that they win the vote; unanimous: where all of those are.
    """

    wrong: int
    rate: float = 1.0
    alike: bool = True
    when: Literal["always", "majority", "unanimous"] = "always"

    def fewest(self, asked: int, holders: int) -> int:
        """How many of those that are asked for a file at first have to be wrong for them to lie about it."""
        return {"always": 1, "majority": holders // 2 + 1, "unanimous": asked}[self.when]


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        named: steps made when so many of the wrong workers were out that no vote could be bad any more; None: never.
        bad: votes that were bad.
        honest: honest workers that were put out.
    """

    named: int | None
    bad: int
    honest: int


def simulate(config: Config, behaviour: Behaviour, seed: int, longest: int) -> Outcome:
    """A run, until nobody is left that would lie.

    Args:
        config: of the run, of which p, q, r, copies, groups, audit and quarantine count.
        behaviour: of those that are wrong.
        seed: decides all that is drawn.
        longest: steps with lies to simulate at the most.
    """
    random, scheme, quarantine = Random(seed), config.create_scheme(seed), config.create_quarantine()
    audit, fewest = Audit(config.audit.ps, seed, quarantine), behaviour.fewest(config.copies_at_first, config.r)
    wrong = set(random.sample(range(config.p), behaviour.wrong))
    next_lie = {worker: _gap(random, behaviour.rate) for worker in sorted(wrong)}
    step = bad = lies = 0
    told = -_SOON
    while True:
        for worker in quarantine.due(step) if step <= told + _SOON else ():
            quarantine.leave_out(worker, step)
            next_lie.pop(worker, None)
        if len(next_lie) < fewest or lies == longest:
            named = max(0, step - 1) if len(next_lie) < fewest else None
            return Outcome(named, bad, len(quarantine.out.keys() - wrong))
        lying = {worker for worker, at in next_lie.items() if at == step}
        if lying:
            lies += 1
            next_lie |= {worker: step + _gap(random, behaviour.rate) for worker in sorted(lying)}
            assignment = scheme.draw(step, [worker for worker in range(config.p) if worker not in quarantine.out])
            audited = audit.begin(step, len(assignment.holders), assignment.edges)
            for file, holders in enumerate(assignment.holders):
                asked = assignment.first[file] if assignment.first else len(holders)
                if len(lying.intersection(holders[:asked])) >= behaviour.fewest(asked, len(holders)):
                    claims = {w: f"lie {0 if behaviour.alike else w}" if w in lying else TRUTH for w in holders}
                    tally = count(holders, asked, claims, TRUTH if file in audited else None)
                    bad += tally.majority not in (None, TRUTH)
                    quarantine.observe(step, said(tally, step, file))
                    told = step
        step = step + 1 if step < told + _SOON else min(next_lie.values())


def count(holders: tuple[int, ...], asked: int, claims: Mapping[int, str | None], truth: str | None = None) -> Tally:
    """The vote on a file, when all that are asked have claimed; those without a claim, or with None, never do.

    Args:
        holders: of the file, in the order in which they are asked.
        asked: how many of them at first.
        claims: what each of them claims if it is asked.
        truth: what the PS computed; None: nothing.
    """
    tally = Tally(holders)
    tally.defer(asked)
    silent = {worker for worker in holders if claims.get(worker) is None}
    called = list(tally.called)
    if truth is not None:
        tally.decide(truth)
    while called:
        for worker in called:
            if worker not in silent:
                tally.claim(worker, claims[worker])
        called = tally.call(tally.lacking(silent), silent)
    return tally


def said(tally: Tally, step: int, file: int) -> list[Event]:
    """What the vote on a file says of those that were asked."""
    return [
        Event(tally.says_of(worker), step, worker, file, others=tally.contradicting(worker)) for worker in tally.called
    ]


def _gap(random: Random, rate: float) -> int:
    """Steps to the next one of those that come with this probability each."""
    return 1 if rate == 1 else 1 + math.floor(math.log(1 - random.random()) / math.log1p(-rate))
