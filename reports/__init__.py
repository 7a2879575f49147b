"""Run folders read and drawn: reports, blame, and the planner."""
