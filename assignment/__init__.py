"""Who computes which file in a step, by which schemes, and how many votes Byzantine workers win.

Everything random is drawn from `seeds.stream`.
"""

from detox.assignment.assignment import Assignment, Edge
from detox.assignment.schemes import SCHEMES, Scheme

__all__ = ["SCHEMES", "Assignment", "Edge", "Scheme"]
