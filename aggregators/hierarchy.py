"""DETOX's second stage: aggregate within vote groups (A0), then across them (A1)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detox.aggregators.arguments import generator, integer
from detox.aggregators.arrays import Array
from detox.aggregators.errors import AggregatorError, concerning
from detox.aggregators.registry import PREAGGREGATORS, RULES
from detox.aggregators.rows import FAST_FROM, Rows, Weighted
from detox.aggregators.rule import Rule
from detox.aggregators.stored import Owners
from detox.aggregators.votes import as_rows
from detox.errors.words import nearest

_REHEARSED = 128  # votes
_SHOWN = 8  # sizes of vote groups, one by one


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
        exact: whether no vote may be bad, so that groups of workers have to be too large to be won.
    """

    a0: str
    a1: str = "mean"
    k: int | None = None
    groups: int | None = None
    pre: Sequence[str] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    threads: int = 1
    exact: bool = False

    def __post_init__(self) -> None:
        if self.k is not None and self.groups is not None:
            raise AggregatorError(f"k and groups exclude each other, got k = {self.k}, groups = {self.groups}")
        for name in ("k", "groups", "threads"):
            if (value := getattr(self, name)) is not None or name == "threads":
                object.__setattr__(self, name, integer(name, value, least=1))
        if not isinstance(self.pre, Sequence) or isinstance(self.pre, str):
            raise AggregatorError(f"pre must be a sequence of names, got {self.pre!r}")
        object.__setattr__(self, "pre", tuple(self.pre))
        with concerning("pre"):
            stages = [*map(PREAGGREGATORS.find, self.pre)]
        with concerning("a0"):
            stages.append(self._a0)
        with concerning("a1"):
            stages.append(self._a1)
        with concerning("options"):
            object.__setattr__(self, "options", self._fitted({stage.name: stage for stage in stages}))

    def _fitted(self, stages: Mapping[str, Rule]) -> dict[str, dict[str, Any]]:
        """The options as the stages, by name, take them."""
        if not isinstance(self.options, Mapping):
            raise AggregatorError(f"options must be a mapping by name of a rule, got {self.options!r}")
        fitted = {}
        for name, options in self.options.items():
            if name not in stages:
                hint = nearest(str(name), stages)
                raise AggregatorError(
                    f"options given for {name!r}, which is not used here (used: {', '.join(stages)}){hint}"
                )
            if not isinstance(options, Mapping):
                raise AggregatorError(f"options of {name} must be a mapping by name of an option, got {options!r}")
            with concerning(f"options.{name}"):
                fitted[name] = stages[name].fit(options)
        return fitted

    def why_not(self, q: int, r: int) -> str:
        """What it needs of groups of r with q Byzantine workers anywhere, and does not have; empty where it has all."""
        if self.exact and r < 2 * q + 1:
            return (
                f"needs groups of r >= 2q + 1 = {2 * q + 1} workers, so that no group can be won; got r = {r}, q = {q}"
            )
        return ""

    def check(self, n: int, f: int) -> None:
        """Raise `AggregatorError`, in words, unless n votes of which f are bad can be served."""
        self._plan(n, f)

    def rehearse(self, n: int, f: int, d: int = 4) -> None:
        """Like `check`, and runs once on a toy: values of options that do not fit show only in use.

        Not where n > 128: some rules take minutes for a thousand votes. With d, that of the votes to come, it also
        compiles what float32 votes of that size need.
        """
        self.check(n, f)
        if n > _REHEARSED:
            return
        toy = np.random.default_rng(0).standard_normal((n, min(d, FAST_FROM)), np.float32)
        with concerning("options" if self.options else ""):
            self(toy, f=f, rng=np.random.default_rng(0))

    def uses(self, option: str) -> bool:
        """Whether some stage takes the option and was not given it: "previous" is then worth remembering."""
        stages = [*(PREAGGREGATORS[p] for p in self.pre), self._a0, self._a1]
        return any(option in stage.options and option not in self.options.get(stage.name, {}) for stage in stages)

    def __call__(
        self,
        votes: Array,
        *,
        f: int,
        rng: np.random.Generator,
        previous: Array | None = None,
        owners: Owners | None = None,
    ) -> Array:
        """Aggregate votes (n, d), of which at most f are bad, to (d,).

        Args:
            votes: numpy or torch, floating.
            f: upper bound on the number of bad votes.
            rng: permutes the votes, and serves stages with a random part.
            previous: (d,), the last result, for stages that start from it (centered_clipping); in each vote group too.
            owners: who has other columns of the same votes, and runs the same on them; None: nobody.
        """
        rows, f = as_rows(votes, self.threads, owners), integer("f", f)
        self._plan(rows.n, f)
        given = {"rng": generator("rng", rng)} | ({} if previous is None else {"previous": previous})
        for name in self.pre:
            rows = as_rows(self._run(PREAGGREGATORS[name], rows, f, given), self.threads, owners)
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
        return RULES.find(self.a0)

    @property
    def _a1(self) -> Rule:
        return RULES.find(self.a1)

    def _run(self, rule: Rule, rows: Rows, f: int, given: Mapping[str, Any]) -> Array:
        return rule.apply(rows, f, **self._options(rule, given))

    def _options(self, rule: Rule, given: Mapping[str, Any]) -> dict[str, Any]:
        wanted = {name: value for name, value in given.items() if name in rule.options}
        return wanted | dict(self.options.get(rule.name, {}))

    def _plan(self, n: int, f: int) -> None:
        """Check each stage in turn."""
        n, f = integer("n", n), integer("f", f)
        if f < 0:
            raise AggregatorError(f"f must not be negative, got f = {f}")
        if n < 1:
            raise AggregatorError(f"there must be at least one vote, got n = {n}")
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
                f"{f} bad {'vote' if f == 1 else 'votes'} of n = {n} can spoil {bad_groups} of the {len(sizes)} vote "
                f"groups (sizes {_sum(sizes)}), but A1 = {self.a1} needs {self._a1.condition.text} "
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


def _sum(sizes: list[int]) -> str:
    """ "3 + 2"; of many, "300 x 3 + 34 x 2"."""
    if len(sizes) <= _SHOWN:
        return " + ".join(map(str, sizes))
    return " + ".join(f"{count} x {size}" for size, count in Counter(sizes).items())
