"""What to do where a config cannot be run: the nearest ones that can, found by trying."""

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from detox.aggregators import RULES, AggregatorError
from detox.aggregators.pairs import PAIRS
from detox.config.derived import Config

_TRIED = 128  # numbers of groups, more and fewer
_FURTHER = 8  # that have to do too, before all that are larger are said to
_MOST = 2**16  # workers
_SIGNS = ("d-signsgd", "sign_majority")  # whose result is no gradient, but its signs


def advise(config: Config, serves: Callable[[Config], bool]) -> str:
    """ "; take A, or B, or C": another aggregator, p, r, q or f, or where none of them helps alone, r and p.

    Args:
        config: cannot be run.
        serves: whether a config can be run; it is asked of each one before that is named.
    """

    def first(configs: Iterable[Config]) -> Config | None:
        return next(filter(serves, configs), None)

    def at_least(found: Config) -> str:
        further = (_changed(config, p=found.p + i * config.r) for i in range(1, _FURTHER))
        return f"p >= {found.p}" if found.p > config.p and all(map(serves, further)) else f"p = {found.p}"

    ways = []
    if found := first(_others(config)):
        ways.append(f"aggregator.name = {found.aggregator.name}")
    if found := first(_changed(config, p=p) for p in _near(config.p, config.r)):
        ways.append(at_least(found))
    if found := first(_changed(config, r=r) for r in _odd(config.r, config.p)):
        ways.append(f"r = {found.r}")
    ways += _less("q", config.q, lambda q: serves(_changed(config, q=q)))
    ways += _less("aggregator.f", config.aggregator.f or 0, lambda f: serves(_with(config, f=f)))
    if not ways:
        both = (_changed(config, p=p, r=r) for r in _odd(config.r, config.r + 1) for p in _near(config.p, r))
        if found := first(both):
            ways.append(f"r = {found.r} and p = {found.p}")
    return f"; take {', or '.join(ways)}" if ways else ""


def _changed(config: Config, **changes: Any) -> Config:
    return config.model_copy(update=changes)


def _with(config: Config, **changes: Any) -> Config:
    """With other fields of the section `aggregator`."""
    return _changed(config, aggregator=config.aggregator.model_copy(update=changes))


def _less(field: str, value: int, serves: Callable[[int], bool]) -> list[str]:
    """The field with the greatest value below this one that serves, as do all that are less; empty where none does."""
    count = bisect(range(value), False, key=lambda less: not serves(less))
    return [f"{field} {'<=' if count > 1 else '='} {count - 1}"] if count else []


def _others(config: Config) -> Iterator[Config]:
    """With other aggregators: what this one is made of, the paper's pairs, all rules."""
    try:
        used = (config.hierarchy.a1, config.hierarchy.a0)
    except AggregatorError:
        return
    for name in (*used, *PAIRS, *RULES):
        if name in used or name not in _SIGNS:
            yield _with(config, name=name)


def _near(p: int, r: int) -> Iterator[int]:
    """Multiples of r but for p, the nearest first; of two as near the greater one."""
    multiples = range(r, _MOST + 1, r)
    middle = p // r  # the first `middle` of them are at most p
    below, above = reversed(multiples[max(0, middle - _TRIED) : middle]), multiples[middle : middle + _TRIED]
    yield from sorted((n for n in (*below, *above) if n != p), key=lambda n: (abs(n - p), -n))


def _odd(r: int, most: int) -> Iterator[int]:
    """Odd sizes of a group from 3 to `most` but for r, the nearest first; of two as near the greater one."""
    yield from sorted((n for n in range(3, most + 1, 2) if n != r), key=lambda n: (abs(n - r), -n))
