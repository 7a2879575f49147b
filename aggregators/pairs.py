"""Hierarchies by name: the paper's pairs, a baseline, and every plain rule."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from detox.aggregators.arguments import text
from detox.aggregators.errors import AggregatorError, concerning
from detox.aggregators.hierarchy import Hierarchy
from detox.aggregators.registry import RULES
from detox.errors.words import nearest

PAIRS: dict[str, Hierarchy] = {
    "d-median": Hierarchy("mean", "median", k=3),
    "d-multi-krum": Hierarchy("multi_krum", "mean", groups=2),
    "d-bulyan": Hierarchy("bulyan", "mean"),
    "d-signsgd": Hierarchy("sign_majority", "sign_majority", k=3),
}
"""The paper's pairs (facts of the released code: 15 votes as 5 x 3, 8 + 7, and 15)."""

BASELINES: dict[str, Hierarchy] = {"draco": Hierarchy("mean", exact=True)}
"""DRACO's repetition code (Chen et al. 2018, arXiv 1803.09877): the mean of votes of which none can be bad.

That holds where groups have r >= 2q + 1 workers, which `why_not` asks for.
"""


def create_hierarchy(
    name: str | None = None,
    *,
    a0: str | None = None,
    a1: str | None = None,
    k: int | None = None,
    pre: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    threads: int = 1,
) -> Hierarchy:
    """A hierarchy from the name of a pair, a baseline or a plain rule; a0, a1 and k, where given, override it.

    Raises:
        AggregatorError: an unknown name, or neither a name nor a0.
    """
    if name is None:
        if a0 is None:
            raise AggregatorError("give the name of a pair or a rule, or a0")
        base = Hierarchy(a0)
    else:
        with concerning("name"):
            base = _named(name)
    if k is not None:
        base = replace(base, k=k, groups=None)
    a0, a1 = base.a0 if a0 is None else a0, base.a1 if a1 is None else a1
    return replace(base, a0=a0, a1=a1, pre=pre, options={} if options is None else options, threads=threads)


def _named(name: str) -> Hierarchy:
    known = PAIRS | BASELINES
    if text("the name of an aggregator", name) in known:
        return known[name]
    if name in RULES:
        return Hierarchy(name)
    hint = nearest(name, [*known, *RULES])
    raise AggregatorError(f"unknown aggregator {name!r}; pairs: {', '.join(known)}; rules: {', '.join(RULES)}{hint}")
