"""The end of a run: summary.json, and what it says in words."""

import platform
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from detox.config import Config
from detox.launch.console import score_in_words
from detox.launch.scores import Scores
from detox.launch.tally import Tally
from detox.ps.ballots import Outcome
from detox.ps.best import Best
from detox.ps.server import Server
from detox.ps.stopwatch import PARTS
from detox.reports.results import shown


def votes_of(server: Server) -> dict[str, int]:
    """How files were voted on in the steps that are closed."""
    return {name.value: server.outcomes[name] for name in Outcome}


def summary_of(
    config: Config,
    step: int,
    scores: Scores,
    tally: Tally,
    best: Best,
    server: Server,
    digest: str,
    library: Mapping[str, str],
) -> dict[str, Any]:
    """What summary.json holds.

    Args:
        config: of the run.
        step: the last one that was made.
        scores: of the evaluation behind it.
        tally: of all steps.
        best: the best evaluation.
        server: has made the steps.
        digest: of the weights.
        library: name -> version of what carries the messages.
    """
    ledger = server.ledger
    mean = {name: tally.seconds[name] / step for name in PARTS}
    return {
        "name": config.name,
        "config_hash": config.identity,
        "steps": step,
        "skipped_steps": tally.skipped,
        **{f"test_{name}": score for name, score in scores.items()},
        "best": {"metric": best.metric(scores), "score": best.score, "step": best.step},
        "seconds_per_step": {"total": sum(mean.values()), **mean},
        "bytes_into_ps": tally.bytes_in,
        "copies_per_file": tally.copies / step,
        "votes": votes_of(server),
        "dissents": ledger.dissents(),
        "ledger": [dict(counts) for counts in ledger.counts],
        "hosts": ledger.host_of,
        "quarantined": {str(worker): since for worker, since in server.quarantine.out.items()},
        "undisputed": ledger.undisputed(step),
        "weights_digest": digest,
        "chain": "" if server.chain is None else server.chain.end,
        "versions": {
            "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
            **library,
        },
    }  # fmt: skip


def summary_lines(summary: dict[str, Any], folder: str) -> list[str]:
    """The end of a run in words, with the workers that dissented most."""
    seconds, votes = summary["seconds_per_step"], summary["votes"]
    parts = ", ".join(f"{name} {seconds[name]:.3f}" for name in PARTS)
    scores = {name.removeprefix("test_"): value for name, value in summary.items() if name.startswith("test_")}
    told = "".join(f", test {name} {score_in_words(name, scores[name])}" for name in shown(list(scores)))
    lines = [
        f"{summary['steps']} steps{told}, {seconds['total']:.3f} s per step ({parts})",
        f"{summary['bytes_into_ps'] / 1e6:.1f} MB into the PS; groups unanimous {votes['unanimous']}, "
        f"with a majority {votes['majority']}, without {votes['none']}",
    ]
    if summary["skipped_steps"]:
        lines.append(f"{summary['skipped_steps']} steps made no update")
    if summary["dissents"]:
        most = list(summary["dissents"].items())[:5]
        named = ", ".join(f"worker {w} on {summary['hosts'][int(w)]} ({n})" for w, n in most)
        lines.append(f"dissented most: {named}")
    if summary["quarantined"]:
        out = ", ".join(f"worker {w} from step {step}" for w, step in summary["quarantined"].items())
        lines.append(f"in quarantine: {out}")
    lines.append(f"results in {folder}")
    return lines
