"""What a run has written of its workers so far, and what that proves under an assumption of q."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from detox.config import Config
from detox.ps.events import EventKind
from detox.ps.folder import RunFolder
from detox.reports.contradictions import Contradictions
from detox.reports.evidence import Finding, accused, find, outvoted, outvoted_in_audits
from detox.reports.records import RunError, read_ledger, read_run, read_steps


@dataclass(frozen=True)
class Log:
    """What a run has written so far.

    Attributes:
        config: the resolved config.
        steps: steps made.
        entries: the lines of ledger.jsonl. Those of the newest few steps may be still to come.
        q: Byzantine workers at most, which is assumed.
    """

    config: Config
    steps: int
    entries: list[dict[str, Any]]
    q: int

    @classmethod
    def read(cls, path: Path, q: int | None = None) -> "Log":
        """Reads the folder of a run, which may be going on.

        Args:
            path: the folder.
            q: what to assume; None: as many as the run is set up for.

        Raises:
            RunError: it is no run's, or has no step yet, or a file in it is broken.
        """
        folder, config = RunFolder(path), read_run(path)
        metrics = read_steps(folder.metrics, config, timed=False)
        if not metrics:
            raise RunError(f"{path}: the run has not made a step yet")
        if not folder.ledger.exists():
            raise RunError(f"{folder.ledger}: there is none, so nothing is known of the workers")
        entries = read_ledger(folder.ledger, config)
        return cls(config, metrics[-1]["step"], entries, min(assumed(config) if q is None else q, config.p))

    def _chance(self, q: int) -> float:
        config = self.config
        if config.worker_momentum or self.wanders:
            return 1.0  # whoever missed a step dissents from then on, honest or not; or all are Byzantine in turn
        out = {entry["worker"] for entry in self.entries if entry["kind"] == "quarantined"}
        # The workers in quarantine may be honest: all q Byzantine ones may be among the rest.
        left, auditors = max(config.p - len(out), self.holders), config.audit.workers
        if auditors:
            return outvoted_in_audits(left, q, auditors, config.audit.trust != "earned")
        return outvoted(left, q, config.r, config.groups == "redrawn")

    def _find(self, q: int) -> list[Finding]:
        return find(self.entries, self.steps, self._chance(q), self.contradictions.conclude(q).proven)

    def _explains(self, q: int) -> bool:
        return not self.contradictions.conclude(q).exceeded and accused(self._find(q)) <= q

    @property
    def holders(self) -> int:
        """Workers that vote on a file, at most: r, or three where workers audit."""
        return 3 if self.config.audit.workers else self.config.r

    @property
    def wanders(self) -> bool:
        """Whether other workers are Byzantine in each step, as in a drill: then all of them lie as often."""
        return self.config.q > 0 and self.config.attack.placement == "random"

    @cached_property
    def contradictions(self) -> Contradictions:
        """Who contradicted whom."""
        return Contradictions.read(self.entries, self.config)

    @property
    def chance(self) -> float:
        """The most that an honest worker's probability of dissent in one step can be, see detox.reports.evidence."""
        return self._chance(self.q)

    @cached_property
    def explained(self) -> bool:
        """Whether q Byzantine workers can have done all this; an honest one does not dissent so often by chance."""
        return self._explains(self.q)

    @cached_property
    def least(self) -> int:
        """The least number of Byzantine workers that can have done all this."""
        return bisect_left(range(self.config.p), True, key=self._explains)

    @cached_property
    def findings(self) -> list[Finding]:
        """What the ledger says of each worker that did anything but agree, the worst first.

        Where q is too small to explain the dissents, they make nobody suspect: the threshold follows from q.
        """
        return self._find(self.q) if self.explained else find(self.entries, self.steps, 1.0)

    @property
    def graph_q(self) -> int:
        """The q under which contradictions are read: where dissents alone show that q is too small, nothing is."""
        return self.q if self.explained or self.contradictions.conclude(self.q).exceeded else self.config.p

    @property
    def undisputed(self) -> int:
        """Up to which step nobody contradicted a vote but workers that are proven; the newest few may yet be."""
        proven = {finding.worker for finding in self.findings if finding.verdict == "proven"}
        steps: list[int] = [
            entry["step"] for entry in self.entries
            if entry["kind"] == EventKind.DISSENTED and entry["worker"] not in proven
        ]  # fmt: skip
        return min([self.steps, *(step - 1 for step in steps)])

    @property
    def agreeing(self) -> int:
        """Workers that did nothing but agree."""
        return self.config.p - sum(finding.worker is not None for finding in self.findings)

    @property
    def hosts(self) -> dict[str, dict[str, Counter[str]]]:
        """By host, its workers' verdicts and entries; a host with more workers in the findings comes first."""
        hosts: dict[str, dict[str, Counter[str]]] = {}
        for finding in self.findings:
            host = hosts.setdefault(finding.host, {"verdicts": Counter(), "counts": Counter()})
            host["verdicts"][finding.verdict] += 1
            host["counts"].update(finding.counts)
        return dict(sorted(hosts.items(), key=lambda item: -item[1]["verdicts"].total()))


def assumed(config: Config) -> int:
    """Byzantine workers that a run is set up for: its q, or as many as aggregator.f tolerates wherever they are."""
    tolerated = (config.f + 1) * ((config.r + 1) // 2) - 1 if config.aggregator.f else 0
    return min(config.p, max(config.q, tolerated))
