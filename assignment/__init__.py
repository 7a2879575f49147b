"""Who computes what in a step; imports nothing of ours."""

from detox.assignment.assignment import Assignment, Edge
from detox.assignment.schemes import SCHEMES, Scheme

__all__ = ["SCHEMES", "Assignment", "Edge", "Scheme"]
