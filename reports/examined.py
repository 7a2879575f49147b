"""What dissenters computed in place of the vote, as a ledger has it: entries, bits, distances and tensors."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from detox.ps.diagnosis import Diagnosis
from detox.ps.events import EventKind

_ROWS = 20  # of the table, the newest
_BITS = 4  # that a row names, those that are flipped the most often

COLUMNS = (
    "worker", "rank", "host", "step", "beside", "entries", "zeros", "NaN, inf", "bits (entries)", "apart", "ulps",
    "tensors (entries)",
)  # fmt: skip

IN_WORDS = """\
Examined: what these workers claimed, beside the vote or what the PS computed. The entries with other bits; how many of
them are zero, NaN or infinite; which bits are flipped in the others (0 the lowest, 31 the sign); what all their
distances are multiples of; by how many representable numbers one is off at the most. Each worker has shown it itself,
and it is what it had claimed. Where Byzantine workers are the majority of a file, it is the vote that is wrong."""


def rows(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """For each examined claim in the lines of a ledger, the newest first, what COLUMNS says."""
    found = [entry for entry in entries if entry["kind"] == EventKind.EXAMINED and "diagnosis" in entry]
    return [_row(entry, entry["diagnosis"]) for entry in reversed(found[-_ROWS:])]


def table(entries: Iterable[Mapping[str, Any]]) -> Table:
    """The rows for a terminal."""
    out = Table(*COLUMNS, box=SIMPLE_HEAD, show_edge=False)
    for row in rows(entries):
        out.add_row(*map(Text, row))
    return out


def _row(entry: Mapping[str, Any], found: Diagnosis) -> tuple[str, ...]:
    beside = "PS" if "PS" in entry.get("detail", "") else "vote"
    more = "" if found.differing <= found.examined else f" of the first {found.examined} of {found.differing}"
    bits = sorted((-count, bit) for bit, count in enumerate(found.bits) if count)
    return (
        *(str(entry[name]) for name in ("worker", "rank", "host", "step")),
        beside,
        f"{found.entries}{more}",
        *(str(count or "") for count in (found.zeros, found.nonfinite)),
        _few((f"{bit} ({-count})" for count, bit in bits), _BITS),
        str(found.stride or ""),
        f"{found.ulps:.3g}" if found.ulps >= 10**6 else str(found.ulps or ""),
        _few((f"{name} ({count})" for name, count in found.tensors), len(found.tensors)),
    )


def _few(words: Iterable[str], most: int) -> str:
    all_ = list(words)
    return ", ".join(all_[:most]) + ", ..." * (len(all_) > most)
