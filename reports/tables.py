"""Finished runs and methods as tables: for a terminal, as CSV, as Markdown."""

import csv
import io
import math
from statistics import mean
from typing import Any

from rich.table import Table

from detox.config.adversary import adversary_in_words
from detox.errors.words import counted
from detox.ps.stopwatch import PARTS
from detox.reports.methods import Method, fields_of
from detox.reports.results import FinishedRun, in_figures, score_names, shown
from detox.reports.target import Target


def table(runs: list[FinishedRun]) -> Table:
    """One row per run: scores, seconds, bytes, and what the vote found out about the Byzantine workers."""
    out = Table()
    out.add_column("run")
    names = shown(score_names(runs))
    for name in (*names, "seconds", "MB in", "bad", "TP", "FP", "weights"):
        out.add_column(name, justify="right")
    for run in runs:
        summary = run.summary
        found = map(str, run.positives) if run.votes else ("-", "-")
        out.add_row(
            summary["name"],
            *(in_figures(name, run.ends[name]) if name in run.ends else "-" for name in names),
            f"{summary['seconds_per_step']['total'] * summary['steps']:.1f}",
            f"{summary['bytes_into_ps'] / 1e6:.1f}",
            str(run.bad),
            *found,
            summary["weights_digest"][:8],
        )
    return out


def what_all_share(runs: list[FinishedRun]) -> str:
    """Task, workers and adversary, as far as they are those of all runs."""
    configs = [run.config for run in runs]
    facts = [
        {f"{c.task}" + (f", {c.model}" if c.model else "") for c in configs},
        {f"p = {counted(c.p, 'worker')}" for c in configs},
    ]
    facts.append({adversary_in_words(c) for c in configs if c.q} or {"no attack"})
    return ", ".join(fact for words in facts if len(words) == 1 for fact in words)


def as_csv(runs: list[FinishedRun], target: Target | None) -> str:
    """One row per run: all fields of its config, and what came of it."""
    text = io.StringIO()
    rows = [_row(run, target) for run in runs]
    names = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(run: FinishedRun, target: Target | None) -> dict[str, Any]:
    summary, (true, false) = run.summary, run.positives
    reached = None if target is None else run.reached(target)
    return {
        **fields_of(run.config),
        **{f"test_{name}": run.ends.get(name) for name in run.ends},
        "target": target and f"{target.name} {in_figures(target.name, target.value)}",
        "steps_to_target": reached and reached[0],
        "seconds_to_target": reached and reached[1],
        **{f"seconds_{name}": summary["seconds_per_step"][name] for name in ("total", *PARTS)},
        "bytes_into_ps": summary["bytes_into_ps"],
        "skipped_steps": summary["skipped_steps"],
        "bad_gradients": run.bad,
        "true_positives": true if run.votes else None,
        "false_positives": false if run.votes else None,
        "weights_digest": summary["weights_digest"],
    }


def method_rows(all_methods: list[Method], target: Target | None) -> list[dict[str, str]]:
    """One row per method, in words and numbers; a spread is from the least to the greatest of the seeds."""
    rows = []
    names = shown(score_names([run for method in all_methods for run in method.runs]))
    for method in all_methods:
        reached = None if target is None else method.reached(target)
        timed = {}
        if target is not None:
            aim = f"{target.name} {in_figures(target.name, target.value)}"
            timed = {f"seconds to {aim}": "never" if reached is None else f"{reached:.1f}"}
        votes = any(run.votes for run in method.runs)
        true, false = map(sum, zip(*(run.positives for run in method.runs), strict=True))
        rows.append(
            {
                "method": method.label,
                "seeds": str(len(method.runs)),
                **{f"test {name}": method.ends(name) for name in names},
                **timed,
                "ms per step": f"{1000 * method.median_seconds['total']:.1f}",
                "MB per step into the PS": f"{method.bytes_per_step / 1e6:.3f}",
                "bad gradients": str(sum(run.bad for run in method.runs)),
                "true positives": str(true) if votes else "-",
                "false positives": str(false) if votes else "-",
            }
        )
    return rows


def as_markdown(rows: list[dict[str, str]], title: str) -> str:
    """A table of rows with equal keys."""
    lines = [list(rows[0]), ["---"] + ["---:"] * (len(rows[0]) - 1), *(list(row.values()) for row in rows)]
    return f"{title}\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines)


def by_attack(all_methods: list[Method], score: str) -> dict[str, dict[str, float]]:
    """Name of the runs -> attack -> mean score at the end; empty unless there are several of both.

    A mean of losses that are not all finite is infinite. Methods whose task has no such score are left out.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for method in all_methods:
        if not all(score in run.ends for run in method.runs):
            continue
        kind = method.config.attack.kind if method.config.q else "none"
        found.setdefault(method.config.name, {}).setdefault(kind, []).extend(method.values(score))
    kinds = {kind for row in found.values() for kind in row}
    if len(found) < 2 or len(kinds) < 2:
        return {}
    return {name: {kind: _mean(values) for kind, values in row.items()} for name, row in found.items()}


def _mean(values: list[float]) -> float:
    return mean(values) if all(map(math.isfinite, values)) else math.inf
