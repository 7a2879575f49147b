"""What a field of a config may hold, and what is said where it holds something else."""

import contextlib
import re
import tomllib
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from detox.errors import UserError
from detox.errors.words import nearest

# The header of a message has 32 bits for the step, the worker and the file.
_COUNT = 2**32 - 1
_SHOWN = 80  # characters of a value
_LISTED = 32  # words that a field may have, in a message

Count = Annotated[int, Field(ge=1, le=_COUNT)]
Natural = Annotated[int, Field(ge=0, le=_COUNT)]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]  # of torch
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seconds = Annotated[float, Field(gt=0, le=1e9)]  # time.sleep takes no more than 1e10
Scalar = bool | int | float | str
_UNION = ("bool", "int", "float", "str", "constrained-", "literal[")  # how pydantic names the members of a union
_OPTION = "Input should be a boolean, a number, a string or a list of these"


def _option(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """A scalar, or the tuple of a list of them; the command line has a list as the text "[0.9, 0.98]"."""
    if isinstance(value, str) and value.startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            value = tomllib.loads(f"list = {value}")["list"]
    return tuple(check(item) for item in value) if isinstance(value, list | tuple) else check(value)


_SCALARS = [{"type": kind} for kind in ("boolean", "integer", "number", "string")]
# A list is no part of the type, or the command line would take all that follows for its items.
Option = Annotated[
    Scalar,
    WrapValidator(_option),
    PlainSerializer(lambda value: list(value) if isinstance(value, tuple) else value),
    WithJsonSchema({"anyOf": [*_SCALARS, {"type": "array", "items": {"anyOf": _SCALARS}}]}),
]


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


Several = BeforeValidator(_tuple)
"""Of a tuple's field: takes a list, as TOML has them, and one value in place of a list of one."""


class Section(BaseModel):
    """Frozen, unknown fields forbidden, every number finite and of its type; the string under a field describes it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )


class ConfigError(UserError):
    """A config that cannot be run; the message names the field and says what to do."""


def in_words(where: str, error: ValidationError, model: type[BaseModel]) -> str:
    """A line for each field that is wrong; a field that does not exist comes with the nearest that does.

    Args:
        where: what was read, such as a file; the start of each line.
        error: what pydantic found.
        model: what was to be read, such as Config.
    """
    return "\n".join(dict.fromkeys(f"{where}: {_line(item, model)}" for item in _plain(error)))


def _plain(error: ValidationError) -> list[Any]:
    """The errors, those of the members of a union as one."""
    items: dict[tuple[Any, ...], Any] = {}
    for item in error.errors(include_url=False):
        loc = item["loc"]
        ends = [place for place, part in enumerate(loc) if place > 1 and str(part).startswith(_UNION)]
        if not ends:
            items[loc] = item
        elif item["type"] == "literal_error" and loc[: ends[0]] in items:
            number = items[loc[: ends[0]]]
            items[loc[: ends[0]]] = {**number, "msg": f"{number['msg']}, or {item['ctx']['expected']}"}
        elif item["type"] == "finite_number" or loc[: ends[0]] not in items:
            option = item["type"] != "finite_number" and not str(loc[ends[0]]).startswith("constrained-")
            items[loc[: ends[0]]] = {**item, "loc": loc[: ends[0]]} | ({"msg": _OPTION} if option else {})
    return list(items.values())


def _line(item: Any, model: type[BaseModel]) -> str:
    field = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{field}: there is no such field{nearest(field, _names(model))}"
    if item["type"] == "missing":
        return f"{field} is missing"
    if item["type"] == "model_type":
        return f"{field} is a section, [{field}], got {_shown(item['input'])}"
    message = item["msg"].removeprefix("Value error, ")
    known = re.findall(r"'([^']*)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else []
    if len(known) > _LISTED:
        message = f"Input should be one of the {len(known)} words that docs/config.md lists"
    if known and isinstance(item["input"], str):
        return f"{field}: {message}, got {_shown(item['input'])}{nearest(item['input'], known)}"
    return f"{field}: {message}, got {_shown(item['input'])}" if field else message


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """All fields, those of sections as `section.field`."""
    names = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        names.append(prefix + name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += _names(inner, f"{prefix}{name}.")
    return names


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of so many digits that Python does not print it
        return "a number that is too long to print"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
