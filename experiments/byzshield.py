"""The share of bad votes against q, for those who know the assignment: ByzShield's tables 3 to 5, with Steiner systems.

python -m experiments.byzshield [--largest 7]
"""

import argparse
from collections.abc import Sequence

from detox.assignment import SCHEMES
from detox.assignment.designs import Design
from detox.assignment.theory import bad_group

CLUSTERS = ((15, 3), (25, 5), (35, 5), (45, 3), (45, 5))
"""p and r; the first three are ByzShield's."""


def lines(p: int, r: int, counts: Sequence[int]) -> list[str]:
    """A table in Markdown: for each assignment and each q the bad votes and their share.

    Args:
        p, r: workers, and holders of a file.
        counts: the q.
    """
    table = [f"| {p}, {r} | files | {' | '.join(f'q = {q}' for q in counts)} |", "|---" * (len(counts) + 2) + "|"]
    table.append(f"| no copies | {p} | {' | '.join(f'{q} ({q / p:.3f})' for q in counts)} |")
    for name in ("fixed", "mols", "ramanujan", "steiner"):
        kind = SCHEMES[name]
        if kind.why_not(p, r):
            continue
        files, cells = kind.files(p, r), []
        for q in counts:
            if issubclass(kind, Design):
                found = kind(p, r).worst(q)
                most, bound = found.bound, "" if found.exact else "<= "
            else:
                most, bound = kind(r).worst_case(q, files), ""
            cells.append(f"{bound}{most} ({most / files:.3f})")
        table.append(f"| {name} | {files} | {' | '.join(cells)} |")
    table.append(f"| any, in secret, on average | | {' | '.join(f'{float(bad_group(p, q, r)):.3f}' for q in counts)} |")
    return table


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser("experiments.byzshield", description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=7, help="q")
    options = parser.parse_args()
    for p, r in CLUSTERS:
        print("\n".join(lines(p, r, range((r + 1) // 2, options.largest + 1))), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
