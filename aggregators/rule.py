"""What a rule is: a function on the votes, its condition on (n, f), and its source."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from detox.aggregators.arguments import fitted, integer
from detox.aggregators.arrays import Array
from detox.aggregators.errors import AggregatorError
from detox.aggregators.rows import Rows, Weighted
from detox.aggregators.votes import as_rows
from detox.errors.words import nearest


@dataclass(frozen=True)
class Condition:
    """A condition on n vectors of which f are Byzantine.

    Args:
        text: the condition in symbols, as errors and docs print it.
        max_f: greatest f that n vectors tolerate; negative where n is too small for any.
    """

    text: str
    max_f: Callable[[int], int]


NO_FAULTS = Condition("f = 0", lambda n: 0)
MAJORITY = Condition("n > 2f", lambda n: (n - 1) // 2)
KRUM = Condition("n >= 2f + 3", lambda n: (n - 3) // 2)
BULYAN = Condition("n >= 4f + 3", lambda n: (n - 3) // 4)
ANY = Condition("n > f", lambda n: n - 1)


@dataclass(frozen=True)
class Rule:
    """An aggregation rule, (n, d) -> (d,), or a pre-aggregator, (n, d) -> (m, d).

    Calling it checks (n, f) and the options, and then aggregates. The input is never changed; the output is a
    new array of the input's library, dtype (in native byte order) and device, without a graph.

    Args:
        function: ``function(rows, f, **options)``, which returns the result or `Weighted`; its keyword-only
            parameters are the rule's options.
        condition: which (n, f) the function serves.
        source: the paper.
        size: number of vectors that come out of n, given the options; None for a rule (one vector).
        coordinatewise: whether a coordinate of the result depends on that coordinate alone.
    """

    function: Callable[..., Array | Weighted]
    condition: Condition
    source: str
    size: Callable[..., int] | None = None
    coordinatewise: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def summary(self) -> str:
        """First paragraph of the docstring, on one line."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Names of the options that the rule takes besides f and threads, and their types."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.annotation for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def tolerates(self, n: int) -> int:
        """Greatest f for which the rule accepts n vectors; -1 if there is none."""
        n = integer("n", n)
        return max(-1, self.condition.max_f(n)) if n > 0 else -1

    def check(self, n: int, f: int) -> None:
        """Raise `AggregatorError` unless the rule serves n vectors of which f are Byzantine."""
        if not 0 <= integer("f", f) <= self.tolerates(n):
            raise AggregatorError(f"{self.name} needs {self.condition.text}, got n = {n}, f = {f}")

    def fit(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options with their values as the rule takes them.

        Raises:
            AggregatorError: one that the rule does not have, or whose value is of another type.
        """
        for option in options:
            if option not in self.options:
                known = ", ".join(sorted(self.options)) or "none"
                hint = nearest(str(option), self.options)
                raise AggregatorError(f"{self.name} has no option {option!r}; its options: {known}{hint}")
        return {name: fitted(self.options[name], f"{self.name}: {name}", value) for name, value in options.items()}

    def __call__(self, gradients: Array, *, f: int = 0, threads: int = 1, **options: Any) -> Array:
        """Aggregate.

        Args:
            gradients: (n, d), numpy or torch; float16, bfloat16, float32 or float64; in any layout and byte order.
            f: upper bound on the number of Byzantine rows; any integer type, but no boolean.
            threads: size of the thread pool over chunks of columns; the result does not depend on it.
            options: the rule's own; numbers of any integer or real type.

        Raises:
            AggregatorError: the array, (n, f) or an option cannot be served.
        """
        return self.apply(as_rows(gradients, threads), f, **options)

    def apply(self, rows: Rows, f: int, **options: Any) -> Array:
        """Aggregate votes that are `Rows` already."""
        result = self.weigh(rows, f, **options)
        return rows.combine(result.weights) if isinstance(result, Weighted) else result

    def weigh(self, rows: Rows, f: int, **options: Any) -> Array | Weighted:
        """`apply`, but a weighted sum of the rows may be left to the caller."""
        options, f = self.fit(options), integer("f", f)
        self.check(rows.n, f)
        return self.function(rows, f, **options)


def rule(
    condition: Condition,
    source: str,
    *,
    size: Callable[..., int] | None = None,
    coordinatewise: bool = False,
) -> Callable[[Callable[..., Array | Weighted]], Rule]:
    """Make a `Rule` of ``function(rows: Rows, f: int, *, options...)``."""
    return lambda function: Rule(function, condition, source, size, coordinatewise)


__all__ = ["ANY", "BULYAN", "KRUM", "MAJORITY", "NO_FAULTS", "Array", "Condition", "Rows", "Rule", "rule"]
