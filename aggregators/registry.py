"""Every rule and pre-aggregator by name. To add one: a function with `@rule`, and its line here."""

from typing import Any, NoReturn

from detox.aggregators.arguments import text
from detox.aggregators.centres import centered_clipping, geometric_median, median_of_means
from detox.aggregators.coordinatewise import meamed, mean, median, phocas, sign_majority, trimmed_mean
from detox.aggregators.errors import AggregatorError
from detox.aggregators.krum import bulyan, krum, multi_krum
from detox.aggregators.preaggregators import arc, bucketing, clipping, nnm
from detox.aggregators.rule import Rule
from detox.aggregators.spectral import caf, dnc, smea
from detox.aggregators.subsets import aksel, cge, faba, mda, monna
from detox.errors.words import nearest


class Table(dict[str, Rule]):
    """Rules by name; an unknown name raises `AggregatorError` with the known ones."""

    def __init__(self, kind: str, *rules: Rule) -> None:
        super().__init__((rule.name, rule) for rule in rules)
        self.kind = kind

    def __missing__(self, name: Any) -> NoReturn:
        name = text(f"the name of a {self.kind}", name)
        raise AggregatorError(f"unknown {self.kind} {name!r}; known: {', '.join(self)}{nearest(name, self)}")

    def find(self, name: Any) -> Rule:
        """The entry of that name, whatever is given as one."""
        return self[text(f"the name of a {self.kind}", name)]


RULES = Table(
    "rule",
    mean,
    median,
    trimmed_mean,
    meamed,
    phocas,
    krum,
    multi_krum,
    bulyan,
    geometric_median,
    median_of_means,
    mda,
    cge,
    centered_clipping,
    monna,
    smea,
    caf,
    dnc,
    sign_majority,
    aksel,
    faba,
)

PREAGGREGATORS = Table("pre-aggregator", bucketing, nnm, clipping, arc)


def tolerates(name: str, n: int) -> int:
    """Greatest f for which rule `name` accepts n vectors; -1 if there is none."""
    return RULES.find(name).tolerates(n)
