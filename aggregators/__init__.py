"""Byzantine-robust aggregation of (n, d) gradients: rules, pre-aggregators, and DETOX's hierarchy of them.

from detox.aggregators import RULES

RULES["krum"](gradients, f=2)  # (n, d) numpy or torch -> (d,)
"""

from detox.aggregators.errors import AggregatorError
from detox.aggregators.hierarchy import Hierarchy
from detox.aggregators.pairs import PAIRS, create_hierarchy
from detox.aggregators.registry import PREAGGREGATORS, RULES, tolerates
from detox.aggregators.rule import Rule
from detox.aggregators.shares import Share, shares

__all__ = [
    "PAIRS",
    "PREAGGREGATORS",
    "RULES",
    "AggregatorError",
    "Hierarchy",
    "Rule",
    "Share",
    "create_hierarchy",
    "shares",
    "tolerates",
]
