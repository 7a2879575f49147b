"""Aspis' attack and the detectors of Aspis and Aspis+ beside the graph of disagreements: simulated, bits for claims.

python -m benchmarks.aspis [--runs 20] [--longest 300]

Aspis (Konstantinidis and Ramamoorthy, arXiv 2108.02416): every set of r workers has a file. Two workers agree in a step
if they claim the same for all files of both; where the agreeing workers have one largest clique, those outside are left
out of the step, else all files are voted on. Aspis+ (arXiv 2208.08085): a design whose workers are permuted each step;
who has disagreed with more than q others within a window, of 15 steps here, is left out. Their programs compare floats
with a tolerance, of 10 on a ratio that is 2 at most, which agrees with everything; here bits are compared.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from random import Random

import networkx as nx

from benchmarks.measure import machine
from detox.assignment import Assignment
from detox.assignment.designs import Steiner
from detox.assignment.schemes import RedrawnGroups
from detox.ps.disagreement import conclude
from detox.worker.placement import Placement

WINDOW = 15  # steps, of Aspis+
Edges = Set[tuple[int, int]]
"""Pairs of workers that claimed different bits for one file in a step."""


class AllSubsets:
    """Every r workers hold a file."""

    def __init__(self, p: int, r: int) -> None:
        self._files = tuple(combinations(range(p), r))

    def draw(self, step: int, workers: Sequence[int]) -> Assignment:
        """Files of those workers that are left, of which a majority is."""
        left = set(workers)
        files = (tuple(w for w in of_one if w in left) for of_one in self._files)
        return Assignment(
            tuple(kept for kept, of_one in zip(files, self._files, strict=True) if len(kept) >= len(of_one) - 1)
        )


def graph_of(edges: Edges) -> dict[int, set[int]]:
    """The neighbours of each worker."""
    graph: dict[int, set[int]] = {}
    for one, other in edges:
        graph.setdefault(one, set()).add(other)
        graph.setdefault(other, set()).add(one)
    return graph


def largest_clique(history: Sequence[Edges], workers: Sequence[int], q: int) -> Set[int]:
    """Aspis: whoever is outside the one largest set of workers that agree in this step; nobody where there are two."""
    agreeing = nx.complement(nx.Graph(history[-1]))
    agreeing.add_nodes_from(workers)
    # Who disagrees with nobody is in every largest clique.
    contested = sorted({worker for edge in history[-1] for worker in edge})
    cliques = sorted(nx.find_cliques(agreeing.subgraph(contested)), key=len, reverse=True) if contested else []
    if not cliques or (len(cliques) > 1 and len(cliques[0]) == len(cliques[1])):
        return set()
    return set(contested) - set(cliques[0])


def degrees(history: Sequence[Edges], workers: Sequence[int], q: int) -> Set[int]:
    """Aspis+: whoever agrees with fewer than K - q - 1 others in the window."""
    graph = graph_of({edge for edges in history[-WINDOW:] for edge in edges})
    return {worker for worker, others in graph.items() if len(others) > q}


def disagreements(history: Sequence[Edges], workers: Sequence[int], q: int) -> Set[int]:
    """Ours: whoever is in every cover of at most q workers of all that has been seen."""
    return conclude(graph_of({edge for edges in history for edge in edges}), q).proven.keys()


Detector = Callable[[Sequence[Edges], Sequence[int], int], Set[int]]
DEFENCES: Mapping[str, tuple[str, Detector, bool]] = {
    "Aspis": ("all subsets", largest_clique, False),
    "Aspis+": ("steiner, permuted", degrees, False),
    "ours": ("redrawn groups", disagreements, False),
    "ours, `audit.ps = 1`": ("redrawn groups", disagreements, True),
    "ours, `steiner`": ("steiner, permuted", disagreements, False),
    "ours, all subsets": ("all subsets", disagreements, False),
}
"""Of each defence the assignment, who is detected, and whether the PS computes a random file itself in each step."""
ATTACKS = ("always", "where they win", "the 2q, always the same", "the 2q, others each step")


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Attributes:
        named: after how many steps the last Byzantine worker that can still win a vote was out; None: never.
        damage: bad votes until then, in steps: the sum over steps of their share.
        honest: honest workers that were left out in some step.
    """

    named: int | None
    damage: float
    honest: int


def run(
    p: int, q: int, r: int, defence: str, attack: str, seed: int, longest: int, placement: Placement | None = None
) -> Run:
    """One run; who is detected is out, from the next step on, with Aspis in the same step already.

    Args:
        p, q, r: workers, Byzantine ones, holders of a file.
        defence: of DEFENCES.
        attack: of ATTACKS.
        seed: of all that is random.
        longest: steps.
        placement: who the Byzantine and the chosen are; None: they are drawn.
    """
    random = Random(seed)
    assignment, detect, audits = DEFENCES[defence]
    schemes = {
        "all subsets": lambda: AllSubsets(p, r),
        "steiner, permuted": lambda: Steiner(p, r, seed),
        "redrawn groups": lambda: RedrawnGroups(r, seed),
    }
    scheme = schemes[assignment]()
    if placement is None:
        byzantine = frozenset(random.sample(range(p), q))
        chosen = frozenset(random.sample(sorted(set(range(p)) - byzantine), q))
    else:
        byzantine, chosen = placement.byzantine(1), placement.framed(1)
    history, out, honest, damage = list[Edges](), set[int](), set[int](), 0.0
    for step in range(1, longest + 1):
        workers = [worker for worker in range(p) if worker not in out]
        if attack == "the 2q, others each step":
            chosen = frozenset(random.sample(sorted(set(workers) - byzantine), q))
        holders = scheme.draw(step, workers).holders
        lied = [lies_of(attack, byzantine - out, byzantine | chosen, of_one) for of_one in holders]
        history.append(
            {(a, b) for of_one, lies in zip(holders, lied, strict=True) for a in lies for b in of_one if b not in lies}
        )
        found = set(detect(history, workers, q))
        checked = random.randrange(len(holders)) if audits else None
        if checked is not None:
            found |= lied[checked]
            lied[checked] = set()
        now = found if detect is largest_clique else set()
        damage += sum(wins(of_one, lies, now) for of_one, lies in zip(holders, lied, strict=True)) / len(holders)
        out |= found
        honest |= found - byzantine
        if len(byzantine - out) < (r + 1) // 2:
            return Run(step, damage, len(honest))
    return Run(None, damage, len(honest))


def lies_of(attack: str, byzantine: Set[int], inside: Set[int], holders: Sequence[int]) -> Set[int]:
    """Who of a file's holders lies about it."""
    lying = byzantine.intersection(holders)
    if attack == "where they win":
        return lying if 2 * len(lying) > len(holders) else set()
    if attack == "always":
        return lying
    return lying if inside.issuperset(holders) else set()


def wins(holders: Sequence[int], lies: Set[int], out: Set[int]) -> bool:
    """Whether the lie has the majority of those that are left."""
    left = [worker for worker in holders if worker not in out]
    return 2 * len(lies.difference(out)) > len(left) > 0


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser("benchmarks.aspis", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="of each row")
    parser.add_argument("--longest", type=int, default=300, help="steps of a run")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    print("| p, q, r | they lie | defence | bad votes | steps until named | in all, in steps | honest out |")
    print("|---|---|---|---|---|---|---|")
    for p, q, r in ((15, 3, 3), (45, 5, 3)):
        for attack in ATTACKS:
            for defence, (assignment, *_) in DEFENCES.items():
                if assignment == "all subsets" and p > 15:
                    continue
                runs = [run(p, q, r, defence, attack, seed, options.longest) for seed in range(options.runs)]
                ends = [one.named for one in runs]
                middle = sorted(options.longest + 1 if end is None else end for end in ends)
                named = (
                    "never"
                    if None in ends and statistics.median(middle) > options.longest
                    else (f"{statistics.median(middle):g} ({'never' if None in ends else max(middle)})")
                )
                rate = statistics.mean(one.damage / (one.named or options.longest) for one in runs)
                damage = statistics.median(one.damage for one in runs)
                cells = f"{100 * rate:.2f} % | {named} | {damage:.2g} | {sum(one.honest for one in runs)}"
                print(f"| {p}, {q}, {r} | {attack} | {defence} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
