"""What a setting of p, q and r promises: failures of each aggregator, bytes, and seconds of the PS."""

import math
import os
import time
from bisect import bisect_left
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache

import numpy as np

from detox.aggregators import AggregatorError, create_hierarchy, shares
from detox.assignment.schemes import worst_case
from detox.assignment.theory import bad_votes, effort, exceeds
from detox.config import Config, ConfigError, check_sizes
from detox.config.memory import RANK_PROGRAM, SERVER_PROGRAM, of_model, of_rank, of_server
from detox.wire import DIGEST_BYTES, claim_of
from detox.wire.messages import HEADER_BYTES

_REPEATS = 5  # of a timing; the median counts
_WORKERS = 2**16
_TIMED = 1000  # votes: some rules take minutes for more
TIMED_ENTRIES = 2**24
"""Of a gradient that are timed at most: from there on a rule takes as long for each entry."""
_EFFORT = 1e12  # of an exact count, see detox.assignment.theory.effort; some 20 seconds


@dataclass(frozen=True)
class Setting:
    """p workers, q of them Byzantine, in groups of r, for some steps.

    Attributes:
        p, q, r: as in a config; `check` says whether they fit together.
        steps: steps in which nothing may fail.
        classes: workers in each class of hosts that compute equal bits, groups being formed within these; they add up
            to p. Empty: all are of one class.
    """

    p: int
    q: int
    r: int
    steps: int = 1
    classes: tuple[int, ...] = ()

    def check(self) -> None:
        """Raises ConfigError where p, q and r do not fit together."""
        bounds = {"-p": (self.p, 1, _WORKERS), "-q": (self.q, 0, _WORKERS), "-r": (self.r, 1, _WORKERS)}
        for name, (value, least, most) in {**bounds, "--steps": (self.steps, 1, 2**32 - 1)}.items():
            if value < least:
                raise ConfigError(f"{name} is at least {least}, got {value}")
            if value > most:
                raise ConfigError(f"{name} is at most {most}, got {value}")
        check_sizes(Config(p=self.p, q=self.q, r=self.r))
        if self.classes and (min(self.classes) < 1 or sum(self.classes) != self.p):
            raise ConfigError(f"--classes: the sizes have to add up to p = {self.p}, got {sum(self.classes)}")
        if not self.votes:
            raise ConfigError(f"--classes: none of them has the r = {self.r} workers of a group")
        if self.effort > _EFFORT:
            raise ConfigError(
                f"p = {self.p}, q = {self.q}, r = {self.r}: counting the placements exactly would take minutes to "
                "days; ask for fewer workers, or fewer Byzantine ones"
            )

    @property
    def effort(self) -> float:
        """What the distribution takes, see detox.assignment.theory.effort."""
        return effort(self.p, self.q, self.r, self.votes)

    @property
    def votes(self) -> int:
        """Groups, and so votes per step."""
        return sum(size // self.r for size in self.classes or (self.p,))

    @cached_property
    def distribution(self) -> list[Fraction]:
        """P(q_e = k) for k = 0 ... votes, exactly: q_e bad votes in a step with secret groups."""
        return _bad_votes(self.p, self.q, self.r, self.votes)

    @property
    def worst(self) -> int:
        """The most bad votes, under any placement."""
        return worst_case(self.q, self.r, self.votes)

    def failure(self, f: int) -> float:
        """The probability of more than f bad votes in any of the steps, groups redrawn in each."""
        share = float(exceeds(self.distribution, f))
        return share if share in (0.0, 1.0) else -math.expm1(self.steps * math.log1p(-share))


_bad_votes = lru_cache(maxsize=64)(bad_votes)


@dataclass(frozen=True)
class Forecast:
    """What an aggregator tolerates, over the votes and over all gradients.

    Attributes:
        name: a pair or a rule.
        tolerates: the most bad votes of p/r that it tolerates; -1 where it cannot serve so few votes at all.
        failure: the probability of more in any of the steps; the paper's adversary does not know the groups.
        any_placement: the most Byzantine workers that it tolerates wherever they are; -1 as above.
        vanilla: the rule that the pair has behind its votes, for use without groups.
        vanilla_tolerates: the most Byzantine workers of p that it tolerates; -1 where it cannot serve p gradients.
    """

    name: str
    tolerates: int
    failure: float
    any_placement: int
    vanilla: str
    vanilla_tolerates: int


_VANILLA = {"d-median": "median", "d-multi-krum": "multi_krum", "d-bulyan": "bulyan", "d-signsgd": "sign_majority"}


def tolerated(name: str, n: int) -> int:
    """The most bad votes of n that an aggregator tolerates; -1 where it cannot serve n votes.

    Raises:
        AggregatorError: no such aggregator.
    """
    hierarchy = create_hierarchy(name)

    def refused(f: int) -> bool:
        try:
            hierarchy.check(n, f)
        except AggregatorError:
            return True
        return False

    return bisect_left(range(n + 1), True, key=refused) - 1  # what tolerates f tolerates fewer


def forecast(setting: Setting, name: str) -> Forecast:
    """What the aggregator `name` tolerates in this setting."""
    f, vanilla = tolerated(name, setting.votes), _VANILLA.get(name, name)
    return Forecast(
        name,
        f,
        1.0 if f < 0 else setting.failure(f),
        -1 if f < 0 else min(setting.p, (f + 1) * ((setting.r + 1) // 2) - 1),
        vanilla,
        tolerated(vanilla, setting.p),
    )


def find(setting: Setting, name: str, wanted: float) -> int | None:
    """The least odd r that divides p with a failure probability of at most `wanted`; None if there is none.

    Raises:
        ConfigError: to count the placements for one of them would take too long.
    """
    for r in range(1, setting.p + 1, 2):
        at = replace(setting, r=r)
        if setting.p % r or not at.votes:
            continue
        if at.effort > _EFFORT:
            raise ConfigError(f"--find: at r = {r} counting the placements exactly would take too long; leave it out")
        if forecast(at, name).failure <= wanted:
            return r
    return None


def bytes_into_server(setting: Setting, d: int, servers: int) -> int:
    """Per step, into the one of several servers that most come into: its shares of the votes, uncompressed.

    Into the PS come the claims besides, of a digest for each server.

    Raises:
        ConfigError: they cannot share so few parameters, or whole gradients travel.
    """
    if setting.r == 1 and servers > 1:
        raise ConfigError(f"--servers {servers}: with r = 1 there are no digests to vote on; take r = 3")
    try:
        widths = [share.d for share in shares(d, 0, servers)]
    except AggregatorError as error:
        raise ConfigError(f"--servers: {error}") from None
    claims = setting.votes * setting.r * (HEADER_BYTES + DIGEST_BYTES * servers)
    first, *others = (setting.votes * (HEADER_BYTES + 4 * width) for width in widths)
    return max(claims + first, *others)


def memory_of(setting: Setting, d: int, servers: int) -> dict[str, int]:
    """Bytes that a server, and a rank with one worker, take at their most, beside the task's data.

    By SGD without momentum, a rank for each worker, without simulated attacks; see detox.config.memory.
    """
    config = Config(p=setting.p, q=0, r=setting.r, servers=servers)
    return {
        "server": round(4 * d * (of_model(config) + of_server(config, d))) + SERVER_PROGRAM,
        "rank": round(4 * d * (of_model(config) + of_rank(config, 1, d))) + RANK_PROGRAM,
    }


def bytes_into_ps(setting: Setting, d: int) -> tuple[int, int]:
    """Per step, with and without groups: uncompressed float32 gradients; with groups a digest per worker besides."""
    gradient = HEADER_BYTES + 4 * d
    vanilla = setting.p * gradient
    if setting.r == 1:
        return vanilla, vanilla
    claims = setting.votes * setting.r * (HEADER_BYTES + DIGEST_BYTES)
    return claims + setting.votes * gradient, vanilla


def server_seconds(setting: Setting, found: Forecast, d: int) -> tuple[float, float]:
    """Seconds of the PS for vote and aggregation of one step, and for the aggregation without groups; measured here.

    Of gradients with more than TIMED_ENTRIES entries so many are timed, and the seconds scaled. NaN where the
    aggregator cannot serve so many votes or gradients.

    Args:
        setting: p, q and r.
        found: the aggregator's forecast in it.
        d: entries of a gradient.

    Raises:
        ConfigError: p gradients, as they are timed, would take more than half of this machine's memory, or are too many
            to time.
    """
    if setting.p > _TIMED:
        raise ConfigError(f"p = {setting.p}: more than {_TIMED} gradients are not timed; --no-measure leaves that out")
    timed_d = min(d, TIMED_ENTRIES)
    wanted, memory = 4 * setting.p * timed_d, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 2 * wanted > memory:
        raise ConfigError(
            f"timing {setting.p} gradients of d = {timed_d} takes {wanted / 1e9:.0f} GB, more than half of the memory "
            "here; --no-measure leaves the seconds out"
        )
    rows = np.random.default_rng(0).standard_normal((setting.p, timed_d), np.float32)

    def timed(name: str, n: int, f: int, hashed: bool) -> float:
        if f < 0:
            return math.nan
        hierarchy, taken = create_hierarchy(name), []
        for _ in range(_REPEATS + 1):
            begin = time.perf_counter()
            if hashed:
                for row in rows[:n]:
                    claim_of(row)
            try:
                hierarchy(rows[:n], f=f, rng=np.random.default_rng(0))
            except AggregatorError:  # such as smea's, of so many subsets
                return math.nan
            taken.append(time.perf_counter() - begin)
        return float(np.median(taken[1:])) * d / timed_d  # the first compiles

    with_groups = timed(found.name, setting.votes, min(setting.worst, found.tolerates), setting.r > 1)
    return with_groups, timed(found.vanilla, setting.p, min(setting.q, found.vanilla_tolerates), False)
