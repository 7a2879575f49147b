"""Whether Byzantine workers know who computes what: what each assignment is worth then, and where it is secret."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from detox.assignment import SCHEMES
from detox.assignment.designs import Design
from detox.assignment.schemes import AuditedFiles, FixedGroups
from detox.assignment.theory import audited_bad_votes, bad_group
from detox.errors.words import counted


@dataclass(frozen=True)
class Row:
    """An assignment.

    Attributes:
        set: the fields of a config that choose it.
        files: of a step, and so gradients at the PS.
        per_worker: files that a worker computes.
        known: bad votes of q workers who know it, at most; None: it is always secret.
        exact: whether so many are reached.
        secret: bad votes on average where it is secret.
    """

    set: str
    files: int
    per_worker: float
    known: int | None
    exact: bool
    secret: float


def rows(p: int, q: int, r: int) -> Iterator[Row]:
    """What p workers can have: groups, lazy ones, the designs, and an auditor."""
    share = float(bad_group(p, q, r))
    for lazy in (False, True):
        if r > 1 and not FixedGroups.why_not(p, r, lazy):
            scheme = FixedGroups(r, lazy=lazy)
            assignment = scheme.draw(1, range(p))
            files, per_worker = len(assignment.holders), sum(1 for _ in assignment.edges) / p
            name = f"r = {r}" + ', copies = "lazy"' * lazy
            # Lazy copies reach the bound at r = 3, see tests/assignment/test_schemes.py.
            exact = not lazy or r == 3
            yield Row(name, files, per_worker, scheme.worst_case(q, files), exact, files * share)
    for name, kind in SCHEMES.items():
        if issubclass(kind, Design) and not kind.why_not(p, r):
            files, found = kind.files(p, r), kind(p, r).worst(q)
            yield Row(f'r = {r}, groups = "{name}"', files, files * r / p, found.bound, found.exact, files * share)
    if not AuditedFiles.why_not(p, 1):
        yield Row("r = 1, audit.workers = 1", p - 1, 1.0, None, True, float(audited_bad_votes(p, q, 1)))


def advised(found: Sequence[Row]) -> Row | None:
    """What to take where Byzantine workers know it: the least share of bad votes, then the fewest files."""
    known = [row for row in found if row.known is not None]
    return min(known, key=lambda row: (row.known or 0) / row.files if row.files else 1.0, default=None)


def as_json(p: int, q: int, r: int) -> dict[str, Any]:
    """The rows, and which to take where it is known."""
    found = list(rows(p, q, r))
    best = advised(found)
    return {"assignments": [asdict(row) for row in found], "advised_known": best.set if best else None}


def print_known(console: Console, facts: Mapping[str, Any]) -> None:
    """The table, and what follows."""
    q, found = facts["q"], facts["assignments"]
    table = Table("who computes what", "votes", "files a worker", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("MB at the PS")
    table.add_column("bad, at most,\nif they know it")
    table.add_column("bad on average,\nif it is secret")
    for row in found:
        share = "" if row["known"] is None else f" ({100 * row['known'] / row['files']:.1f} %)"
        known = "secret anyway" if row["known"] is None else ("" if row["exact"] else "<= ") + str(row["known"]) + share
        table.add_row(
            row["set"],
            str(row["files"]),
            f"{row['per_worker']:.3g}",
            f"{row['files'] * 4 * facts['d'] / 1e6:.3g}",
            known,
            f"{row['secret']:.3g} ({100 * row['secret'] / row['files']:.2f} %)",
        )
    console.print("", table, sep="\n")
    console.print(
        'Secret (groups = "redrawn"): nothing is gained per step by a design, for the share is the same, and a worker\n'
        "computes more files."
    )
    if q and (best := facts["advised_known"]):
        console.print(f"Known to {counted(q, 'Byzantine worker')}: take {best}, with the smallest share of bad votes.")
