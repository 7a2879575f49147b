"""The package's one exception."""


class AggregatorError(ValueError):
    """A rule, a pair or its options cannot serve the request; the message says which and why."""
