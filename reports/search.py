"""Which checks to choose: those that are compared, and the cheapest that keep some limits; for `detox-ps plan`."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from detox.config import ConfigError
from detox.reports.choices import Choice

_AUDITORS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_AUDITED = (0, 1, 2, 4)
_LARGEST = 9  # r of a search

LIMITS = {
    "overhead": "copies computed beyond one per file, at the most; 3% or 0.03",
    "named": "steps until one faulty worker is named",
    "byzantine": "steps until all q that always lie are named",
    "bad": "bad votes in a whole run, whatever q Byzantine workers do",
}
"""What a search can be limited by: medians, where it is simulated."""


def value(choice: Choice, limit: str) -> float | None:
    """What LIMITS says, of a choice; None where that never ends, or is not known."""
    if limit == "overhead":
        return choice.overhead
    if limit == "bad":
        return choice.worst
    found = choice.fault if limit == "named" else choice.always
    return None if found is None else found.named


def usual(p: int, q: int, r: int, rate: float, runs: int | None) -> list[Choice]:
    """The choices that are compared, the cheapest first: none, audits, and r with lazy copies and all."""
    of_r = r if r > 1 else 3
    settings: list[dict[str, Any]] = [
        {"r": 1}, {"r": 1, "audited": 1}, {"r": 1, "auditors": 1},
        *({"r": of_r, "lazy": lazy, "audited": audited} for lazy in (True, False) for audited in (0, 1)),
    ]  # fmt: skip
    return _created(p, q, rate, runs, settings)


def searched(p: int, q: int, rate: float, runs: int | None) -> list[Choice]:
    """The choices of a search, the cheapest first."""
    audits: Iterable[dict[str, Any]] = (
        {"r": 1, "auditors": auditors, "audited": audited} for auditors in _AUDITORS for audited in _AUDITED
    )
    voted: Iterable[dict[str, Any]] = (
        {"r": r, "lazy": lazy, "audited": audited}
        for r in range(3, min(p, _LARGEST) + 1, 2)
        for lazy in (True, False)
        for audited in _AUDITED
    )
    return _created(p, q, rate, runs, [*audits, *voted])


def _created(p: int, q: int, rate: float, runs: int | None, settings: Iterable[dict[str, Any]]) -> list[Choice]:
    made = (Choice.create(p, q, rate=rate, runs=runs, **setting) for setting in settings)
    return sorted((choice for choice in made if choice is not None), key=lambda choice: choice.overhead)


def keeping(choices: Iterable[Choice], limits: Mapping[str, float]) -> Iterator[Choice]:
    """Those of the choices that keep all limits; what is dear to know is looked at last."""
    for choice in choices:
        if all((found := value(choice, name)) is not None and found <= most for name, most in _cheap_first(limits)):
            yield choice


def _cheap_first(limits: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(limits.items(), key=lambda item: list(LIMITS).index(item[0]))


def read_limits(words: Iterable[str]) -> dict[str, float]:
    """Limits as `overhead=3%`.

    Raises:
        ConfigError: there is no such limit, or it is no number.
    """
    limits = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in LIMITS:
            raise ConfigError(f"--find {word}: there is no {name}; there are {', '.join(LIMITS)}")
        try:
            value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            value = math.nan
        if not value >= 0:
            raise ConfigError(
                f"--find {word}: {name} is a number from 0 on, as in {name}={'3%' if name == 'overhead' else 100}"
            )
        limits[name] = value
    return limits


def advised(choices: Iterable[Choice]) -> dict[str, Choice]:
    """Of the choices that are compared, cheapest first, which to take.

    Returns:
        "hardware": the cheapest that names a faulty worker; "byzantine": the cheapest whose votes are taken among
        several, and that ends what Byzantine workers can do, whatever that is. One that there is not is left out.
    """
    of_hardware = (choice for choice in choices if choice.fault is not None and choice.fault.named is not None)
    of_byzantine = (choice for choice in choices if choice.config.r > 1 and choice.worst is not None)
    found = {"hardware": next(of_hardware, None), "byzantine": next(of_byzantine, None)}
    return {name: choice for name, choice in found.items() if choice is not None}


def in_numbers(choice: Choice) -> dict[str, Any]:
    """All that is known of a choice, as JSON; what is simulated has "median" and "most"."""
    config = choice.config

    def simulated(found: Any) -> dict[str, Any] | None:
        if found is None:
            return None
        return {
            "named": {"median": found.named, "most": found.named_most},
            "bad": {"median": found.bad, "most": found.bad_most} if found.named is not None else None,
        }

    last = choice.unanimous()
    return {
        "set": str(choice),
        "fields": {
            "r": config.r,
            "copies": config.copies,
            "audit": {"workers": config.audit.workers, "ps": config.audit.ps},
        },
        "files": choice.files,
        "f": config.f,
        "copies": choice.copies,
        "copies_attacked": choice.copies_attacked,
        "overhead": choice.overhead,
        "checked": choice.checked,
        "runs": choice.runs,
        "fault": {"bad_per_step": choice.bad_by_fault, "simulated": simulated(choice.fault)},
        "always": {"bad_per_step": choice.bad_by_byzantine, "simulated": simulated(choice.always)},
        "majority": {"bad_per_step": choice.bad_by_byzantine, "simulated": simulated(choice.majority)},
        "unanimous": {
            "bad_per_step": choice.unseen,
            "bad": None if last is None else last[0],
            "named": None if last is None else last[1],
        },
        "worst": choice.worst,
    }


def as_json(p: int, q: int, r: int, rate: float, runs: int | None, limits: Mapping[str, float]) -> dict[str, Any]:
    """The choices that are compared, which of them to take, and the cheapest that keeps the limits, if there are any.

    Where none keeps them, `found` is None, and `beyond` is the cheapest that keeps all but the overhead.
    """
    choices = usual(p, q, r, rate, runs)
    facts = {
        "rate": rate,
        "choices": [in_numbers(choice) for choice in choices],
        "advised": {name: str(choice) for name, choice in advised(choices).items()},
        "limits": dict(limits),
        "found": None,
        "beyond": None,
    }
    if limits:
        found = next(keeping(searched(p, q, rate, runs), limits), None)
        others = {name: most for name, most in limits.items() if name != "overhead"}
        beyond = None if found or not others else next(keeping(searched(p, q, rate, runs), others), None)
        facts |= {
            name: None if one is None else in_numbers(one) for name, one in (("found", found), ("beyond", beyond))
        }
    return facts
