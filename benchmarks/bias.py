"""How far rules are moved by "A Little Is Enough" at z = 1, in standard deviations of one worker's gradient.

python -m benchmarks.bias [--steps 20] [--warm 40]

The gradients are real ones: Fashion-MNIST, MLP 784-128-10, 8 samples per worker, at the weights that the mean of honest
gradients has after some steps (rate 0.05, momentum 0.9). Each of the steps after these, at the same weights, is drawn,
attacked and aggregated as in a run with `attack.knowledge = "omniscient"`. The shift is that of the aggregate from the
mean of all honest gradients, along sigma, the deviation of the gradients of one worker's 8 samples: (A - mu) sigma /
|sigma|^2.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.measure import machine
from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.assignment.designs import Design
from detox.assignment.schemes import FixedGroups, RedrawnGroups, Scheme
from detox.assignment.seeds import stream
from detox.tasks.create import create_task
from detox.tasks.flat import FlatModel
from detox.tasks.samples import Files
from detox.worker.placement import Placement

SAMPLES = 8  # of a worker


@dataclass(frozen=True)
class Case:
    """A defence, and what it is up against.

    Attributes:
        label: of its row.
        p, q, r: workers, Byzantine ones, holders of a file.
        groups: "redrawn" in secret, with the Byzantine workers drawn anew each step; others are known to them.
        rule: the aggregation.
        options: of the rule.
    """

    label: str
    p: int
    q: int
    r: int
    groups: str
    rule: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> int:
        """Of a step."""
        return self.p if self.r == 1 else SCHEMES[self.groups].files(self.p, self.r)


ALIE = [
    Case(f"{label}, {how}", 45, 5, r, "redrawn", rule, options)
    for label, pair, rule, options in (
        ("Multi-Krum", "d-multi-krum", "multi_krum", ()),
        ("Bulyan", "d-bulyan", "bulyan", ()),
        ("Bulyan, scored once", "d-bulyan", "bulyan", (("scoring", "once"),)),
        ("median", "d-median", "median", ()),
    )
    for how, r, rule in (("DETOX", 3, pair), ("all gradients", 1, rule))
]


def designs(p: int, r: int, counts: Sequence[int]) -> list[Case]:
    """The median of the votes of each assignment, against those q."""
    named = {"no copies": (1, "fixed"), "fixed": (r, "fixed"), "redrawn": (r, "redrawn")}
    named |= {name: (r, name) for name in ("mols", "ramanujan", "steiner") if not SCHEMES[name].why_not(p, r)}
    return [Case(label, p, q, copies, groups, "median") for label, (copies, groups) in named.items() for q in counts]


class Gradients:
    """Of files of the task, at weights that some honest steps led to."""

    def __init__(self, warm: int) -> None:
        self._task = create_task("fashion-mnist", model="mlp")
        self._model = FlatModel.build(self._task, 0)
        momentum = torch.zeros_like(self._model.weights)
        for step in range(1, warm + 1):
            momentum = 0.9 * momentum + torch.from_numpy(self.of(step, 15, 3 * SAMPLES).mean(axis=0))
            self._model.load((self._model.weights - 0.05 * momentum).numpy())

    def of(self, step: int, files: int, size: int) -> np.ndarray:
        """(files, d) float32."""
        drawn = Files(files, size, self._task.train_size, 0)
        return np.stack([self._model.compute(self._task, of_one, 0).copy() for of_one in drawn.draw(step)])


def shift(case: Case, gradients: Gradients, step: int) -> tuple[float, float]:
    """Of one step: how far the aggregate is moved, in sigmas, and the share of bad votes."""
    votes = gradients.of(step, case.files, case.p * SAMPLES // case.files)
    one, mean = gradients.of(step, case.p, SAMPLES), votes.mean(axis=0)
    sigma = one.std(axis=0)
    scheme: Scheme = RedrawnGroups(case.r, 1) if case.groups == "redrawn" else scheme_of(case)
    holders = scheme.draw(step, range(case.p)).holders
    known = case.groups != "redrawn"
    placement = Placement("optimal" if known else "random", case.p, case.q, 0, holders if known else ())
    byzantine = placement.byzantine(step)
    bad = [2 * len(byzantine.intersection(of_one)) > len(of_one) for of_one in holders]
    votes[bad] = mean + votes.std(axis=0)
    f = scheme.worst_case(case.q, case.files)
    hierarchy = create_hierarchy(case.rule, options={"bulyan": dict(case.options)} if case.options else {})
    moved = hierarchy(votes, f=f, rng=stream(0, "votes", step)) - mean
    return float(moved @ sigma / (sigma @ sigma)), sum(bad) / len(bad)


def scheme_of(case: Case) -> Scheme:
    """Whose draw is known."""
    kind = SCHEMES[case.groups]
    return kind(case.p, case.r) if issubclass(kind, Design) else FixedGroups(case.r)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser("benchmarks.bias", description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="of each row")
    parser.add_argument("--warm", type=int, default=40, help="honest steps before")
    options = parser.parse_args()
    torch.set_num_threads(1)
    gradients = Gradients(options.warm)
    print(machine(), end="\n\n")
    print("| p, q, r | | bad votes | shift |\n|---|---|---|---|")
    cases = ALIE + designs(15, 3, (2, 3, 4, 5)) + designs(25, 5, (3, 6)) + designs(35, 5, (3, 6))
    for case in cases:
        found = [shift(case, gradients, options.warm + step) for step in range(1, options.steps + 1)]
        moved, bad = (statistics.mean(of) for of in zip(*found, strict=True))
        print(f"| {case.p}, {case.q}, {case.r} | {case.label} | {100 * bad:.1f} % | {moved:.3f} |", flush=True)


if __name__ == "__main__":
    main()
