"""DETOX's second stage: aggregate within vote groups (A0), then across them (A1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from detox.aggregators.errors import AggregatorError
from detox.aggregators.registry import PREAGGREGATORS, RULES, find
from detox.aggregators.rows import Array, Rows, Weighted, as_rows
from detox.aggregators.rule import Rule

_REHEARSED = 128  # votes


@dataclass(frozen=True)
class Hierarchy:
    """Hierarchical aggregation (Rajput et al. 2019): permute the votes, A0 within groups, A1 across them.

    Args:
        a0: rule within a vote group.
        a1: rule across the groups' results; not used where there is one group.
        k: greatest size of a vote group: n votes form ceil(n / k) groups whose sizes differ by at most 1.
        groups: number of vote groups, in place of k. With neither, all votes form one group: a plain rule.
        pre: pre-aggregators, applied in this order to all votes before they are grouped.
        options: by name of rule or pre-aggregator, its options, such as ``{"multi_krum": {"m": 3}}``.
        threads: size of the thread pool; the result does not depend on it.
    """

    a0: str
    a1: str = "mean"
    k: int | None = None
    groups: int | None = None
    pre: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.k is not None and self.groups is not None:
            raise AggregatorError(f"k and groups exclude each other, got k = {self.k}, groups = {self.groups}")
        for name, value in (("k", self.k), ("groups", self.groups), ("threads", self.threads)):
            if value is not None and value < 1:
                raise AggregatorError(f"{name} must be at least 1, got {value}")
        stages = [*(find(PREAGGREGATORS, p, "pre-aggregator") for p in self.pre), self._a0, self._a1]
        for name, options in self.options.items():
            users = [stage for stage in stages if stage.name == name]
            if not users:
                used = ", ".join(dict.fromkeys(stage.name for stage in stages))
                raise AggregatorError(f"options given for {name!r}, which is not used here (used: {used})")
            users[0].check_options(options)

    def check(self, n: int, f: int) -> None:
        """Raise `AggregatorError`, in words, unless n votes of which f are bad can be served."""
        self._plan(n, f)

    def rehearse(self, n: int, f: int) -> None:
        """Like `check`, and runs once on a toy: values of options that do not fit show only in use.

        Not where n > 128: some rules take minutes for a thousand votes.
        """
        if n > _REHEARSED:
            self.check(n, f)
            return
        toy = np.random.default_rng(0).standard_normal((n, 4), np.float32)
        try:
            self.check(n, f)
            self(toy, f=f, rng=np.random.default_rng(0))
        except (ArithmeticError, TypeError) as error:
            raise AggregatorError(str(error)) from None

    def uses(self, option: str) -> bool:
        """Whether some stage takes the option and was not given it: "previous" is then worth remembering."""
        stages = [*(PREAGGREGATORS[p] for p in self.pre), self._a0, self._a1]
        return any(option in stage.options and option not in self.options.get(stage.name, {}) for stage in stages)

    def __call__(self, votes: Array, *, f: int, rng: np.random.Generator, previous: Array | None = None) -> Array:
        """Aggregate votes (n, d), of which at most f are bad, to (d,).

        Args:
            votes: numpy or torch, floating.
            f: upper bound on the number of bad votes.
            rng: permutes the votes, and serves stages with a random part.
            previous: (d,), the last result, for stages that start from it (centered_clipping); in each vote group too.
        """
        self._plan(len(votes), f)
        given = {"rng": rng} if previous is None else {"rng": rng, "previous": previous}
        rows = as_rows(votes, self.threads)
        for name in self.pre:
            rows = as_rows(self._run(PREAGGREGATORS[name], rows, f, given), self.threads)
        sizes, faults, bad_groups = self._group(rows.n, f)
        if len(sizes) == 1:
            return self._run(self._a0, rows, f, given)
        members = np.split(rng.permutation(rows.n), np.cumsum(sizes)[:-1])

        def two_stages(rows: Rows) -> Array:
            weights, results = np.zeros(rows.n), None
            for i, (chosen, t) in enumerate(zip(members, faults, strict=True)):
                group = rows.select(np.sort(chosen))
                result = self._a0.weigh(group, t, **self._options(self._a0, given))
                if self.a1 == "mean" and isinstance(result, Weighted):
                    # The mean of weighted sums is one, so that no group's result takes memory.
                    weights[np.sort(chosen)] = result.weights / len(sizes)
                    continue
                results = rows.empty(len(sizes)) if results is None else results
                results[i, :] = group.combine(result.weights) if isinstance(result, Weighted) else result
            if results is None:
                return rows.combine(weights)
            return self._run(self._a1, rows.like(results), bad_groups, given)

        single = self._a0.coordinatewise and self._a1.coordinatewise
        return rows.columnwise(two_stages) if single else two_stages(rows)

    @property
    def _a0(self) -> Rule:
        return find(RULES, self.a0, "rule")

    @property
    def _a1(self) -> Rule:
        return find(RULES, self.a1, "rule")

    def _run(self, rule: Rule, rows: Rows, f: int, given: Mapping[str, Any]) -> Array:
        return rule.apply(rows, f, **self._options(rule, given))

    def _options(self, rule: Rule, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = {name: value for name, value in given.items() if name in rule.options}
        return wanted | dict(self.options.get(rule.name, {}))

    def _plan(self, n: int, f: int) -> None:
        """Check each stage in turn."""
        if f < 0:
            raise AggregatorError(f"f must not be negative, got f = {f}")
        for name in self.pre:
            stage = PREAGGREGATORS[name]
            stage.check(n, f)
            assert stage.size is not None
            n = stage.size(n, **self.options.get(name, {}))
        if self.groups is not None and n < self.groups:
            raise AggregatorError(f"{self.groups} vote groups need as many votes, got n = {n}")
        sizes, faults, bad_groups = self._group(n, f)
        if len(sizes) == 1:
            self._a0.check(n, f)
            return
        for size, t in zip(sizes, faults, strict=True):
            if t < 0:
                raise AggregatorError(
                    f"A0 = {self.a0} needs {self._a0.condition.text}, but n = {n} votes make groups of {size}"
                )
        if bad_groups > self._a1.tolerates(len(sizes)):
            raise AggregatorError(
                f"{f} bad votes of n = {n} can spoil {bad_groups} of the {len(sizes)} vote groups "
                f"(sizes {' + '.join(map(str, sizes))}), but A1 = {self.a1} needs {self._a1.condition.text} "
                f"with n = {len(sizes)}, f = {bad_groups}"
            )

    def _group(self, n: int, f: int) -> tuple[list[int], list[int], int]:
        """Sizes of the vote groups, the f of each, and how many of them f bad votes can spoil.

        One bad vote more than A0 tolerates at a group's size spoils it; the cheapest groups fall first.
        """
        count = self.groups or (1 if self.k is None else -(-n // self.k))
        sizes = [n // count + (i < n % count) for i in range(count)]
        tolerated = [self._a0.tolerates(size) for size in sizes]
        left, bad = f, 0
        for cost in sorted(t + 1 for t in tolerated):
            if cost > left or cost < 1:
                break
            left, bad = left - cost, bad + 1
        return sizes, [min(f, t) for t in tolerated], bad


PAIRS: dict[str, Hierarchy] = {
    "d-median": Hierarchy("mean", "median", k=3),
    "d-multi-krum": Hierarchy("multi_krum", "mean", groups=2),
    "d-bulyan": Hierarchy("bulyan", "mean"),
    "d-signsgd": Hierarchy("sign_majority", "sign_majority", k=3),
}
"""The paper's pairs (facts of the released code: 15 votes as 5 x 3, 8 + 7, and 15)."""

BASELINES: dict[str, Hierarchy] = {"draco": Hierarchy("mean")}
"""DRACO's repetition code (Chen et al. 2018, arXiv 1803.09877): the mean of votes of which none can be bad.

That holds where groups have r >= 2q + 1 workers, which is for the caller to check.
"""


def create_hierarchy(
    name: str | None = None,
    *,
    a0: str | None = None,
    a1: str | None = None,
    k: int | None = None,
    pre: tuple[str, ...] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    threads: int = 1,
) -> Hierarchy:
    """A hierarchy from the name of a pair, a baseline or a plain rule; a0, a1 and k, where given, override it.

    Raises:
        AggregatorError: an unknown name, or neither a name nor a0.
    """
    if name is None and a0 is None:
        raise AggregatorError("give the name of a pair or a rule, or a0")
    pairs = PAIRS | BASELINES
    if name in pairs:
        base = pairs[name]
    elif name is None or name in RULES:
        base = Hierarchy(a0 or name or "")
    else:
        raise AggregatorError(f"unknown aggregator {name!r}; pairs: {', '.join(pairs)}; rules: {', '.join(RULES)}")
    if k is not None:
        base = replace(base, k=k, groups=None)
    return replace(base, a0=a0 or base.a0, a1=a1 or base.a1, pre=tuple(pre), options=options or {}, threads=threads)
