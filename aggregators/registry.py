"""Every rule and pre-aggregator by name. To add one: a function with `@rule`, and its line here."""

from collections.abc import Mapping

from detox.aggregators.centres import geometric_median
from detox.aggregators.coordinatewise import mean, median, sign_majority, trimmed_mean
from detox.aggregators.errors import AggregatorError
from detox.aggregators.krum import bulyan, krum, multi_krum
from detox.aggregators.preaggregators import bucketing, nnm
from detox.aggregators.rule import Rule

RULES: dict[str, Rule] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "geometric_median": geometric_median,
    "sign_majority": sign_majority,
}

PREAGGREGATORS: dict[str, Rule] = {
    "bucketing": bucketing,
    "nnm": nnm,
}


def find(table: Mapping[str, Rule], name: str, kind: str) -> Rule:
    """The entry of that name; an unknown name raises `AggregatorError` with the known ones."""
    if name not in table:
        raise AggregatorError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]


def tolerates(name: str, n: int) -> int:
    """Greatest f for which rule `name` accepts n vectors; -1 if there is none."""
    return find(RULES, name, "rule").tolerates(n)
