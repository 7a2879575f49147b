"""Mean estimation on synthetic data (Rajput et al. 2019): error of medians, plain and under DETOX.

Each of p workers holds one sample of N(mu, I); q of them send a vector of norm 100 with all entries equal. Plain: a
rule over the p rows. DETOX: the same p samples as p/r files of r, each computed by a group of r workers drawn at
random; a group with a Byzantine majority votes for the Byzantine vector; then A0 = mean in vote groups of k, and the
rule across.

python -m experiments.mean_estimation quick|full [--no-resume]
"""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.measure import machine
from detox.aggregators import RULES, Hierarchy
from detox.assignment.schemes import RedrawnGroups
from detox.assignment.seeds import stream
from detox.reports.figures import figure_of, save
from detox.worker.placement import Placement
from experiments.cells import kept, markdown, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NORM = 100.0
R, K = 11, 3
DIMENSIONS = (20, 40, 60, 80, 100)
SHARES = (1, 5, 10, 20, 30)  # q, in 1/110 of p; with 10 it is p/r
FEW = 16  # the most q of which r >= 3 + 2 log2 q
SIZES = {"quick": (22_000, 5), "full": (220_000, 10)}  # p, repetitions
METHODS = {
    "median": "median",
    "geometric_median": "geometric median",
    "d-median": "DETOX, median",
    "d-geometric_median": "DETOX, geometric median",
    "honest": "mean of all samples, no attack",
}


@dataclass
class Sample:
    """What arrives in one repetition.

    Attributes:
        mu: (d,) float32, the mean of the samples' law.
        rows: (p, d) float32, of each worker, Byzantine ones included.
        votes: (p / r, d) float32, of the files.
        bad: number of votes that the Byzantine workers won.
        honest: (d,) float64, the mean of all samples as they were drawn.
    """

    mu: np.ndarray
    rows: np.ndarray
    votes: np.ndarray
    bad: int
    honest: np.ndarray


def sample(p: int, q: int, r: int, d: int, repetition: int, seed: int) -> Sample:
    """Draws the samples, the groups and the Byzantine workers."""
    rng = stream(seed, "samples", d, repetition)
    mu = rng.standard_normal(d, np.float32)
    rows = mu + rng.standard_normal((p, d), np.float32)
    byzantine = np.zeros(p, bool)
    byzantine[list(Placement("random", p, q, seed).byzantine(repetition))] = True
    groups = np.array(RedrawnGroups(r, seed).draw(repetition, range(p)).holders)

    bad = byzantine[groups].sum(axis=1) > r // 2
    votes = rows.reshape(p // r, r, d).mean(axis=1)
    sent = np.full(d, NORM / d**0.5, np.float32)
    votes[bad] = sent
    honest = rows.mean(axis=0, dtype=np.float64)
    rows[byzantine] = sent
    return Sample(mu, rows, votes, int(bad.sum()), honest)


def errors(p: int, q: int, r: int, k: int, d: int, repetition: int, seed: int) -> dict[str, Any]:
    """||estimate - mu|| of each of METHODS in one repetition, and the number of bad votes.

    f is the number of bad rows, so that each rule is asked for what it has to tolerate and says if it cannot.
    """
    drawn = sample(p, q, r, d, repetition, seed)
    estimates = {"honest": drawn.honest}
    for rule in ("median", "geometric_median"):
        estimates[rule] = RULES[rule](drawn.rows, f=q)
        hierarchy, order = Hierarchy("mean", rule, k=k), stream(seed, "votes", d, repetition)
        estimates[f"d-{rule}"] = hierarchy(drawn.votes, f=drawn.bad, rng=order)
    return {"bad votes": drawn.bad} | {
        name: float(np.linalg.norm(estimates[name] - drawn.mu.astype(np.float64))) for name in METHODS
    }


def cells(p: int, repetitions: int) -> Iterator[dict[str, int]]:
    """The parameters of every repetition: against d at q = p/11, and against q at the greatest d."""
    settings = [(p // 11, d) for d in DIMENSIONS]
    settings += [(q, DIMENSIONS[-1]) for q in (FEW, *(p * share // 110 for share in SHARES))]
    for q, d in dict.fromkeys(settings):
        for repetition in range(repetitions):
            yield {"p": p, "q": q, "r": R, "k": K, "d": d, "repetition": repetition, "seed": 0}


def table(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a setting: the median of each method's errors, and their range."""
    rows = []
    for q, d in dict.fromkeys((result["q"], result["d"]) for result in results):
        chosen = [result for result in results if (result["q"], result["d"]) == (q, d)]
        bad = [result["bad votes"] for result in chosen]
        row = {"d": d, "q": f"{q:,}", "bad votes": f"{statistics.mean(bad):.1f} ({min(bad)} to {max(bad)})"}
        for name, label in METHODS.items():
            found = [result[name] for result in chosen]
            row[label] = f"{statistics.median(found):.4f} ({min(found):.4f} to {max(found):.4f})"
        rows.append(row)
    return rows


def draw(results: list[dict[str, Any]]) -> "Figure":
    """Errors against d at q = p/11, and against q/p at the greatest d: medians, bars from least to greatest."""
    p, repetitions = results[0]["p"], len({result["repetition"] for result in results})
    figure, ((*panels,),) = figure_of(1, 2, 12, 4.8)
    panels[1].sharey(panels[0])
    for axes, x, fixed in ((panels[0], "d", {"q": p // 11}), (panels[1], "q", {"d": DIMENSIONS[-1]})):
        chosen = [result for result in results if fixed.items() <= result.items()]
        places = sorted({result[x] for result in chosen})
        for i, (name, label) in enumerate(METHODS.items()):
            found = [[result[name] for result in chosen if result[x] == place] for place in places]
            middle = np.array([statistics.median(errors) for errors in found])
            reach = [middle - [min(errors) for errors in found], [max(errors) for errors in found] - middle]
            style = {"color": "black", "linestyle": ":"} if name == "honest" else {"color": f"C{i % 2}"}
            marker = ("s" if name in RULES else "o") if name != "honest" else ""
            if name in RULES:
                style["linestyle"] = "--"
            at = np.array(places) if x == "d" else 100 * np.array(places) / p
            axes.errorbar(at, middle, reach, label=label, marker=marker, markersize=5, capsize=3, **style)
        axes.set_yscale("log")
        axes.grid(which="both", alpha=0.25)
    panels[0].set(xlabel="dimension d", ylabel="error ‖estimate - mean‖ (units: an entry's std)")
    panels[0].set(xticks=DIMENSIONS, title=f"q = p/11 = {p // 11:,}")
    panels[1].set(xlabel="Byzantine workers q/p (%)", title=f"d = {DIMENSIONS[-1]}")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(
        f"Mean estimation, p = {p:,}, r = {R}, vote groups of {K}; Byzantine vectors of norm {NORM:.0f}; "
        f"median and range of {repetitions}"
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--output", type=Path, default=Path("runs/mean-estimation"))
    parser.add_argument("--no-resume", dest="resume", action="store_false", help="make finished results again")
    a = parser.parse_args()
    results = [cell | kept(errors, a.output / "cells", a.resume, **cell) for cell in cells(*SIZES[a.size])]
    write_csv(results, a.output / f"{a.size}.csv")
    text = f"{machine()}\n\n{markdown(table(results))}"
    (a.output / f"{a.size}.md").write_text(text, encoding="utf-8")
    save(draw(results), a.output / f"{a.size}.png")
    print(text)


if __name__ == "__main__":
    main()
