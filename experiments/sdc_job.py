"""One run of the SDC benchmark: a whole job in this process, of which every corruption is known."""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import tomli_w

from detox.ps.diagnosis import diagnose
from detox.wire import PROBE, Header
from detox.worker.corruption import Corruptor
from tests.one_process import Jobs

RANKS = 3
ACCUSED = ("dissented", "convicted", "lied", "nonfinite")
"""Kinds of events that say of a worker that its gradient was wrong."""
SEEN = (*ACCUSED, "undecided")
"""And that some gradient of its file was."""


@dataclass
class Record:
    """What went wrong in a run, and what replaying on the same worker would have shown.

    Attributes:
        wrong: (step, worker) of each corrupted gradient, with the class of its fault.
        replayed: those of them of which a second computation by the same worker has other bits.
        ends: by step, CPU seconds of this process at its end.
    """

    wrong: dict[tuple[int, int], str] = field(default_factory=dict)
    replayed: set[tuple[int, int]] = field(default_factory=set)
    ends: dict[int, float] = field(default_factory=dict)


RECORD = Record()
"""Of the job that is running; a job's modules know of no other place."""


def tick(step: int, numbers: dict[str, float]) -> None:
    """`metrics` of a run: called at the PS after each step."""
    RECORD.ends.setdefault(step, time.process_time())  # the last step comes once more, with the scores


def fault_class(right: np.ndarray, wrong: np.ndarray) -> str:
    """The class of a corrupted vector; stripes are the flips of a whole vector, for few entries are 2 to 32."""
    found = diagnose([(0, right, wrong)])
    if found.nonfinite:
        return "NaN or infinity"
    if found.zeros:
        return "zeros"
    if found.entries > 32:
        return "stripes"
    return "one bit" if found.single == found.flips else "several bits"


@contextmanager
def recording(replay: bool) -> Iterator[Record]:
    """Records what is corrupted meanwhile; with `replay` each corrupted or checked computation is made a second time.

    A second computation of an honest gradient has equal bits, which the self-test of a run makes sure of; so all there
    is to do is to let the fault strike, or not, once more.
    """
    record = Record()
    corrupt = Corruptor.corrupt

    def recorded(self: Corruptor, header: Header, vector: np.ndarray) -> np.ndarray:
        result = corrupt(self, header, vector)
        struck = result is not vector and result.tobytes() != vector.tobytes()
        # Once the weights are NaN there is no right gradient any more.
        if header.step != PROBE and struck and np.isfinite(vector).all():
            record.wrong[header.step, header.worker] = fault_class(vector, result)
            if replay and corrupt(self, header, vector).tobytes() != result.tobytes():
                record.replayed.add((header.step, header.worker))
        return result

    global RECORD
    RECORD = record
    with patch.object(Corruptor, "corrupt", recorded):
        yield record


def run(config: dict[str, Any], files: tuple[Path, ...] = (), replay: bool = False) -> dict[str, Any]:
    """Makes a run, as JSON values.

    Args:
        config: of the run, as in a config file.
        files: modules of its task.
        replay: see recording.

    Raises:
        RuntimeError: the run failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.toml").write_text(
            tomli_w.dumps(config | {"metrics": "experiments.sdc_job:tick", "output": "runs"})
        )
        for file in files:
            (folder / file.name).write_bytes(file.read_bytes())
        with recording(replay) as record:
            begin = time.process_time()
            job = Jobs.train(["run.toml", "--progress", "none"], folder, RANKS)
        if job.status or job.errors:
            raise RuntimeError(f"{config}: {job.text} {job.errors}")
        ledger = [json.loads(line) for line in (job.run / "ledger.jsonl").read_text().splitlines()]
        summary = job.summary
    seen = {(entry["step"], entry["worker"]) for entry in ledger if entry["kind"] in SEEN}
    ends = [begin, *record.ends.values()]
    return {
        "wrong": [[*key, kind, key in seen, key in record.replayed] for key, kind in sorted(record.wrong.items())],
        "accused": sorted([e["step"], e["worker"], e["kind"]] for e in ledger if e["kind"] in ACCUSED),
        "named": sorted([e["worker"], e["step"]] for e in ledger if e["kind"] == "quarantined"),
        "copies": summary["copies_per_file"],
        "scores": {name: value for name, value in summary.items() if name.startswith("test_")},
        "digest": summary["weights_digest"],
        "cpu_seconds": [end - start for start, end in pairwise(ends)],
    }
