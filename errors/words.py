"""Words of which errors, and what is told on the terminal, are made."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches


def counted(n: int, what: str) -> str:
    """ "1 worker", "2 workers"."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean NAME?", or nothing where no known name is like it."""
    found = get_close_matches(name, known, n=1)
    return f"; did you mean {found[0]}?" if found else ""


def named(ranks: Sequence[int], hosts: Mapping[int, str]) -> str:
    """ "rank 1", "ranks 1 on one, 2 on another": ranks and their hosts, as far as these are known."""
    words = [f"{rank} on {hosts[rank]}" if hosts.get(rank) else str(rank) for rank in ranks]
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(words)}"
