"""The package's one exception."""

from collections.abc import Iterator
from contextlib import contextmanager

from detox.errors import UserError


class AggregatorError(UserError):
    """A rule, a pair or its options cannot serve the request; the message says which and why.

    Attributes:
        argument: of `create_hierarchy` that is wrong, such as "a0"; empty where it is not one of them alone.
    """

    argument = ""


@contextmanager
def concerning(argument: str) -> Iterator[None]:
    """What is raised within is about this argument of `create_hierarchy`, or a part of it."""
    try:
        yield
    except AggregatorError as error:
        error.argument = error.argument or argument
        raise
