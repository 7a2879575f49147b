"""Every rule and pre-aggregator by name. To add one: a function with `@rule`, and its line here."""

from collections.abc import Mapping

from detox.aggregators.centres import centered_clipping, geometric_median, median_of_means
from detox.aggregators.coordinatewise import meamed, mean, median, phocas, sign_majority, trimmed_mean
from detox.aggregators.errors import AggregatorError
from detox.aggregators.krum import bulyan, krum, multi_krum
from detox.aggregators.preaggregators import arc, bucketing, clipping, nnm
from detox.aggregators.rule import Rule
from detox.aggregators.spectral import caf, dnc, smea
from detox.aggregators.subsets import aksel, cge, faba, mda, monna

RULES: dict[str, Rule] = {
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "meamed": meamed,
    "phocas": phocas,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "geometric_median": geometric_median,
    "median_of_means": median_of_means,
    "mda": mda,
    "cge": cge,
    "centered_clipping": centered_clipping,
    "monna": monna,
    "smea": smea,
    "caf": caf,
    "dnc": dnc,
    "sign_majority": sign_majority,
    "aksel": aksel,
    "faba": faba,
}

PREAGGREGATORS: dict[str, Rule] = {
    "bucketing": bucketing,
    "nnm": nnm,
    "clipping": clipping,
    "arc": arc,
}


def find(table: Mapping[str, Rule], name: str, kind: str) -> Rule:
    """The entry of that name; an unknown name raises `AggregatorError` with the known ones."""
    if name not in table:
        raise AggregatorError(f"unknown {kind} {name!r}; known: {', '.join(table)}")
    return table[name]


def tolerates(name: str, n: int) -> int:
    """Greatest f for which rule `name` accepts n vectors; -1 if there is none."""
    return find(RULES, name, "rule").tolerates(n)
