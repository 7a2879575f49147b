"""What a caller gives as numbers and names, as rules take it; what does not fit is an `AggregatorError`."""

import math
import operator
import types
from numbers import Real
from reprlib import repr as brief
from typing import Any, get_args, get_origin

import numpy as np

from detox.aggregators.errors import AggregatorError

GREATEST = 2**63 - 1


def integer(name: str, value: Any, least: int | None = None) -> int:
    """The value as an int: of any integer type, but no boolean; at least `least`, where given."""
    value = _plain(value)
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except Exception:  # a type of the caller's own can fail with anything
        raise AggregatorError(f"{name} must be an integer, got {brief(value)}") from None
    if abs(number) > GREATEST:
        raise AggregatorError(f"{name} must be less than 2^63, got an integer of {number.bit_length()} bits")
    if least is not None and number < least:
        raise AggregatorError(f"{name} must be at least {least}, got {number}")
    return number


def real(name: str, value: Any) -> float:
    """The value as a float: of any real type, but no boolean and no NaN."""
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise AggregatorError(f"{name} must be a number, got {brief(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise AggregatorError(f"{name} must be less than 2^1024") from None
    if math.isnan(number):
        raise AggregatorError(f"{name} must be a number, got nan")
    return number


def text(name: str, value: Any) -> str:
    """The value, if it is a string."""
    if not isinstance(value, str):
        raise AggregatorError(f"{name} must be a name, got {brief(value)}")
    return value


def generator(name: str, value: Any) -> np.random.Generator:
    """The value, if it is a generator of numpy."""
    if not isinstance(value, np.random.Generator):
        raise AggregatorError(f"{name} must be a numpy.random.Generator, got {type(value).__name__}")
    return value


def fitted(annotation: Any, name: str, value: Any) -> Any:
    """The value as a parameter of that annotation takes it: `int`, `float`, `str` or a generator, perhaps `| None`."""
    if get_origin(annotation) is types.UnionType:
        if value is None:
            return None
        annotation = next(kind for kind in get_args(annotation) if kind is not types.NoneType)
    return _READERS[annotation](name, value) if annotation in _READERS else value


_READERS: dict[Any, Any] = {int: integer, float: real, str: text, np.random.Generator: generator}


def _plain(value: Any) -> Any:
    """An array's scalar, or an array or a tensor of no dimension, as Python's own."""
    if getattr(value, "ndim", None) == 0 and callable(getattr(value, "item", None)):
        try:
            return value.item()
        except RuntimeError:  # a tensor without storage
            return value
    return value
