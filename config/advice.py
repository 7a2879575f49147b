"""What to do where an aggregation does not serve so many votes: the nearest configs that can be run, by trying."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from detox.aggregators import RULES
from detox.aggregators.hierarchy import PAIRS
from detox.config.schema import Config

_TRIED = 256  # numbers of votes
_FURTHER = 8  # that have to do too, before all that are larger are said to
_SIGNS = ("d-signsgd", "sign_majority")  # whose result is no gradient, but its signs


def advise(config: Config, serves: Callable[[Config], bool]) -> str:
    """ "; take A, or B, or C": another aggregator, a larger p, a larger r; empty where none of them helps.

    Args:
        config: cannot be run.
        serves: whether a config can be run; it is asked of each one before that is named.
    """
    ways = []
    for name in _names(config):
        section = config.aggregator.model_copy(update={"name": name})
        if serves(_changed(config, aggregator=section)):
            ways.append(f"aggregator.name = {name}")
            break
    more = range(config.p + config.r - config.p % config.r, 2**16 + 1, config.r)
    for p in islice(more, _TRIED):
        if serves(_changed(config, p=p)):
            further = (_changed(config, p=p + i * config.r) for i in range(1, _FURTHER))
            ways.append(f"p >= {p}" if all(map(serves, further)) else f"p = {p}")
            break
    for r in range(config.r + 2, config.p + 1, 2):
        if serves(_changed(config, r=r)):
            ways.append(f"r = {r}")
            break
    return f"; take {', or '.join(ways)}" if ways else ""


def _changed(config: Config, **changes: Any) -> Config:
    return config.model_copy(update=changes)


def _names(config: Config) -> Iterator[str]:
    """Aggregators in the order in which they are tried: what this one is made of, the paper's pairs, all rules."""
    used = (config.hierarchy.a1, config.hierarchy.a0)
    yield from (name for name in (*used, *PAIRS, *RULES) if name in used or name not in _SIGNS)
