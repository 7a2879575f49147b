"""Detectors of silent data corruption, compared: each trains with faulty workers, of whom every corruption is known.

python -m experiments.sdc quick|full [--no-resume] [--jobs 2] [--configs FOLDER]

A run is a whole job in one process: the PS, the ranks and all that they send are those of a run under mpirun, and only
the messages go through memory. So each corruption can be recorded beside what the detector said of it.
"""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import tomli_w

from experiments.cells import kept, markdown, write_csv
from experiments.sdc_job import run

P = 45
FAULTY = {7: "sdc", 23: "sdc", 31: "sdc", 3: "stripe", 40: "nan"}
"""Workers and what is wrong with them: three have the mix, two a class that is rare in it or that it lacks."""
FAULTS: dict[str, dict[str, Any]] = {
    "none": {},
    "permanent": {},
    "permanent, repeatable": {"repeatable": True},
    "intermittent": {"mean_steps": 5.0},
    "intermittent, repeatable": {"mean_steps": 5.0, "repeatable": True},
    "transient": {"first": 10, "last": 10},
}
"""Fields of `fault`: in each step, in one of five, in one step only; repeatable: the same for the same input."""
DETECTORS: dict[str, dict[str, Any]] = {
    "NaN check": {"r": 1},
    "NaN check again": {"r": 1},
    "audit 1/45": {"r": 1, "audit": {"workers": 1}},
    "audit 2/45": {"r": 1, "audit": {"workers": 2}},
    "PS audits 1 file": {"r": 1, "audit": {"ps": 1}},
    "r = 3 lazy": {"r": 3, "copies": "lazy"},
    "r = 3": {"r": 3},
    "tolerance 1e-3": {"r": 3, "vote": "tolerance", "vote_tolerance": 1e-3},
}
"""By name, fields of a config. The second NaN check is the first again, for what two equal runs differ by (A/A)."""
REPLAY = {"replay, every step": 1, "replay, 1 step in 45": P}
"""Detectors that the runs of the NaN check tell of: a worker computes its gradient twice, in one of so many steps."""
COMMON: dict[str, Any] = {
    "p": P, "q": len(FAULTY), "checkpoint_every": 10**6, "log_every": 10**6,
    "aggregator": {"name": "mean", "f": 0},
    # q workers may be wrong, and none lies: what they send is 1 times their gradient.
    "attack": {"kind": "reversed", "scale": -1.0, "placement": "fixed"},
}  # fmt: skip
TASKS: dict[str, dict[str, Any]] = {
    "LeNet": {
        "task": "fashion-mnist", "model": "lenet", "batch_size": 8,
        "optimizer": {"lr": 0.05, "momentum": 0.9, "warmup": 10},
    },
    "transformer": {
        "task": "characters:CharacterTask", "batch_size": 2,
        "optimizer": {"name": "AdamW", "lr": 0.001, "weight_decay": 0.1, "warmup": 5, "clip_norm": 1.0},
    },
}  # fmt: skip
MODULES = {"transformer": (Path(__file__).parents[1] / "examples" / "characters.py",)}
SIZES: dict[str, dict[str, tuple[int, list[str], list[str], int]]] = {
    "quick": {
        "LeNet": (30, ["none", "permanent", "intermittent, repeatable", "transient"], list(DETECTORS), 1),
        "transformer": (
            10, ["none", "permanent", "intermittent, repeatable"], ["NaN check", "r = 3 lazy"], 1,
        ),
    },
    "full": {"LeNet": (400, list(FAULTS), list(DETECTORS), 5), "transformer": (400, list(FAULTS), list(DETECTORS), 5)},
}  # fmt: skip
"""By size and task: steps, faults, detectors, seeds."""


def cells(size: str) -> Iterator[tuple[str, str, str, int, int]]:
    """(task, fault, detector, steps, seed) of each run; the second NaN check is for runs without a fault alone."""
    for task, (steps, faults, detectors, seeds) in SIZES[size].items():
        for seed, fault, detector in product(range(seeds), faults, detectors):
            if fault == "none" or detector != "NaN check again":
                yield task, fault, detector, steps, seed


def config(task: str, fault: str, detector: str, steps: int, seed: int) -> dict[str, Any]:
    """The config of a run."""
    faulty = {"fault": {"worker": list(FAULTY), "kind": list(FAULTY.values()), "seed": seed} | FAULTS[fault]}
    fields = (
        COMMON
        | TASKS[task]
        | DETECTORS[detector]
        | {"steps": steps, "eval_every": steps, "seed": seed, "secret_seed": seed}
    )
    return fields | (faulty if fault != "none" else {})


def compute(folder: Path, resume: bool, cell: tuple[str, str, str, int, int]) -> dict[str, Any]:
    """What a run came to, or came to before."""
    task, fault, detector, steps, seed = cell

    def make(**_: Any) -> dict[str, Any]:
        return run(config(*cell), MODULES.get(task, ()), replay=detector == "NaN check")

    names = {"task": task, "fault": fault, "detector": detector.replace("/", "of"), "steps": steps, "seed": seed}
    return kept(make, folder, resume, **{f"{name}=": value for name, value in names.items()})


def summaries(found: Mapping[tuple[str, str, str, int, int], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each run, and for each detector that replays; see docs/sdc.md for what the columns mean."""
    rows = []
    for (task, fault, detector, steps, seed), result in found.items():
        if fault == "none":
            continue
        audited = DETECTORS[detector].get("audit", {}).get("ps", 0) / P
        score = next(
            value for name, value in result["scores"].items() if name in ("test_accuracy", "test_bits_per_character")
        )
        common = {"task": task, "fault": fault, "steps": steps, "seed": seed, "score": score}
        nonfinite = ((worker, step) for step, worker, kind in result["accused"] if kind == "nonfinite")
        named = _earliest([*result["named"], *nonfinite])
        first = _earliest((worker, step) for step, worker, *_ in result["wrong"])
        rows.append(
            common
            | {
                "detector": detector,
                "wrong": len(result["wrong"]),
                "seen": sum(seen for *_, seen, _ in result["wrong"]),
                "faulty": len(first),
                "named": len(named.keys() & first.keys()),
                "steps to a name": _median(named[w] - first[w] for w in named.keys() & first.keys()),
                "false accusations": len({worker for _, worker, _ in result["accused"]} - FAULTY.keys()),
                "honest out": len(dict(result["named"]).keys() - FAULTY.keys()),
                "overhead": result["copies"] + audited - 1,
            }
        )
        if detector == "NaN check":
            rows += [common | _replayed(result, name, every, first) for name, every in REPLAY.items()]
    return rows


def classes(found: Mapping[tuple[str, str, str, int, int], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each task, fault, detector and class: how many gradients were wrong, and how many of them were seen."""
    counts: dict[tuple[str, str, str, str], list[float]] = {}
    for (task, fault, detector, _, _), result in found.items():
        for _, _, kind, seen, replayed in result["wrong"]:
            told = {detector: float(seen)}
            if detector == "NaN check":
                told |= {name: replayed / every for name, every in REPLAY.items()}
            for name, share in told.items():
                count = counts.setdefault((task, fault, name, kind), [0, 0.0])
                count[0] += 1
                count[1] += share
    names = ("task", "fault", "detector", "class")
    return [
        dict(zip(names, key, strict=True)) | {"wrong": n, "seen": round(s, 2)} for key, (n, s) in sorted(counts.items())
    ]


def seconds(found: Mapping[tuple[str, str, str, int, int], Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Runs without a fault: CPU milliseconds per step of all ranks together, beside the NaN check's, and copies."""
    rows = []
    for (task, fault, detector, steps, seed), result in found.items():
        if fault == "none":
            own = _pace(result)
            whole = _pace(found[task, "none", "NaN check", steps, seed])
            rows.append(
                {
                    "task": task, "detector": detector, "seed": seed, "copies": round(result["copies"], 3),
                    "CPU ms per step": round(1000 * own, 1), "of the NaN check's": round(own / whole, 3),
                    "accused": len(result["accused"]), "digest": result["digest"][:12],
                }
            )  # fmt: skip
    return rows


def _replayed(result: Mapping[str, Any], name: str, every: int, first: Mapping[int, int]) -> dict[str, Any]:
    """What replaying would have come to, on average over which of the steps are checked."""
    waits, wrong = [], [(step, worker, replayed) for step, worker, _, _, replayed in result["wrong"]]
    for offset in range(every):
        seen: dict[int, int] = {}
        for step, worker, replayed in wrong:
            if replayed and step % every == offset:
                seen.setdefault(worker, step)
        waits += [seen[worker] - first[worker] for worker in seen]
    return {
        "detector": name,
        "wrong": len(wrong),
        "seen": round(sum(replayed for *_, replayed in wrong) / every, 2),
        "faulty": len(first),
        "named": round(len(waits) / every, 2),
        "steps to a name": _median(waits),
        "false accusations": 0,
        "honest out": 0,
        "overhead": 1 / every,
    }


def _earliest(seen: Iterable[Sequence[int]]) -> dict[int, int]:
    """By worker, the first step of the pairs (worker, step)."""
    found: dict[int, int] = {}
    for worker, step in seen:
        found[worker] = min(step, found.get(worker, step))
    return found


def _median(values: Any) -> float | str:
    found = list(values)
    return median(found) if found else ""


def _pace(result: Mapping[str, Any]) -> float:
    return median(result["cpu_seconds"][2:-1])  # the first warms up, the last evaluates


def pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each task, detector and fault, over the seeds, with recall and other numbers in words."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["task"], row["fault"], row["detector"]), []).append(row)
    order = [*REPLAY, *DETECTORS]
    table = []
    for (task, fault, detector), of_one in sorted(
        groups.items(), key=lambda g: (g[0][0], g[0][1], order.index(g[0][2]))
    ):
        wrong, seen, faulty, named = (sum(row[name] for row in of_one) for name in ("wrong", "seen", "faulty", "named"))
        waits = [row["steps to a name"] for row in of_one if row["steps to a name"] != ""]
        table.append(
            {
                "task": task, "fault": fault, "detector": detector,
                "recall": f"{seen / wrong:.1%} of {wrong}" if wrong else "-",
                "named": f"{named:g} of {faulty}",
                "after steps": f"{median(waits):g}" if waits else "-",
                "false accusations": sum(row["false accusations"] for row in of_one),
                "honest out": sum(row["honest out"] for row in of_one),
                "overhead": f"{mean(row['overhead'] for row in of_one):.1%}",
                "score": f"{mean(row['score'] for row in of_one):.4g}",
            }
        )  # fmt: skip
    return table


def main() -> None:
    """Makes the runs, the tables and the picture."""
    parser = ArgumentParser("python -m experiments.sdc", description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--no-resume", action="store_true", help="make all runs again")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time (2)")
    parser.add_argument(
        "--configs", type=Path, metavar="FOLDER", help="write the config of each run, for a fleet, and end"
    )
    options = parser.parse_args()
    todo = list(cells(options.size))
    if options.configs is not None:
        options.configs.mkdir(parents=True, exist_ok=True)
        for cell in todo:
            name = "-".join(map(str, cell)).replace("/", "of").replace(" ", "").replace(",", "-")
            (options.configs / f"{name}.toml").write_text(tomli_w.dumps(config(*cell)))
        print(f"{len(todo)} configs in {options.configs}")
        return
    out = Path("runs") / f"sdc-{options.size}"
    make = partial(compute, out / "cells", not options.no_resume)
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        found = dict(zip(todo, pool.map(make, todo), strict=True))
    rows, by_class, cost = summaries(found), classes(found), seconds(found)
    for name, table in (("runs", rows), ("classes", by_class), ("seconds", cost)):
        write_csv(table, out / f"{name}.csv")
    print(markdown(pooled(rows)), markdown(cost), sep="\n")
    print(f"tables in {out}")


if __name__ == "__main__":
    main()
