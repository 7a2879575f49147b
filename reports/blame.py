"""`detox-ps blame`: what the ledger of a run says of each worker, while the run goes on or after."""

import json
from argparse import ArgumentParser
from bisect import bisect_left
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from detox.config import Config
from detox.errors.words import counted
from detox.ps.folder import RunFolder
from detox.reports import contradictions, examined
from detox.reports.contradictions import Contradictions
from detox.reports.evidence import KINDS, Finding, accused, find, outvoted, suspicious
from detox.reports.figures import picture, picture_file
from detox.reports.heatmap import heatmap
from detox.reports.records import RunError, read_ledger, read_run, read_steps
from detox.reports.terminal import printer

_LEGEND = """\
proven: two of its own messages contradict each other, or the PS's own computation contradicts its claim, or q Byzantine
workers without it cannot explain who contradicts whom.
suspect: outvoted more often than an honest worker is by chance. absent: dead, or silent most of the time.
no proof: all else; where Byzantine workers are the majority of a group, it is the honest that dissent.
Only the first few malformed and late messages of a rank in a step are written, and counted here."""

_TOLERANCE = """\
vote = "tolerance": a deviation of at most {:g} of the gradient's length agrees, and is not in this ledger; one
Byzantine worker in each group can move every vote so far, always in the same direction. See docs/threat-model.md."""


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
        if config.worker_momentum:
            return 1.0  # whoever misses a step sends another momentum from then on, without being Byzantine
        out = {entry["worker"] for entry in self.entries if entry["kind"] == "quarantined"}
        # The workers in quarantine may be honest: all q Byzantine ones may be among the rest.
        return outvoted(max(config.p - len(out), config.r), q, config.r, config.groups == "redrawn")

    def _find(self, q: int) -> list[Finding]:
        return find(self.entries, self.steps, self._chance(q), self.contradictions.conclude(q).proven)

    def _explains(self, q: int) -> bool:
        return not self.contradictions.conclude(q).exceeded and accused(self._find(q)) <= q

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


def blame(argv: list[str]) -> int:
    """Prints what is known of each worker and draws the picture; returns 0. Raises UserError where it cannot."""
    options = parser().parse_args(argv)
    if options.q is not None and options.q < 0:
        raise RunError(f"-q is at least 0, got {options.q}")
    log = Log.read(options.run, options.q)
    if options.json:
        print(json.dumps(as_json(log), indent=2))
    else:
        _print(log)
    if options.plot is not None:
        picture(lambda: heatmap(log.entries, log.config, log.steps, log.contradictions, log.q), options.plot)
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps blame", description="Which workers offended, when, and what that proves.", allow_abbrev=False
    )
    line.add_argument("run", type=Path, metavar="RUN", help="a run's folder; the run may be going on")
    line.add_argument(
        "-q",
        type=int,
        help="Byzantine workers to assume, at most; unset: the config's q, or what its aggregator.f tolerates",
    )
    line.add_argument(
        "--plot", type=picture_file, metavar="FILE", help="draw workers over steps: .png, .pdf, .svg (extra `plot`)"
    )
    line.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return line


def as_json(log: Log) -> dict[str, Any]:
    """All that the tables say."""
    config = log.config
    return {
        **config.model_dump(include={"name", "p", "q", "r", "groups"}),
        "steps": log.steps,
        "q_assumed": log.q,
        "explained": log.explained,
        "q_at_least": log.least,
        "chance_outvoted": log.chance,
        "suspect_from": suspicious(log.steps, log.chance),
        "agreeing": log.agreeing,
        "workers": [asdict(finding) for finding in log.findings],
        "hosts": log.hosts,
        "examined": [
            {**entry, "diagnosis": asdict(entry["diagnosis"])} for entry in log.entries if "diagnosis" in entry
        ],
        "contradictions": contradictions.as_json(log.contradictions, log.q),
    }


def _print(log: Log) -> None:
    console = printer()
    if log.findings:
        console.print(table(log))
    console.print(f"{log.agreeing} of {counted(log.config.p, 'worker')}: nothing but agreement, in {log.steps} steps\n")
    if len(log.hosts) > 1 and any(host["verdicts"].total() > 1 for host in log.hosts.values()):
        console.print(host_table(log), "", sep="\n")
    if log.findings:
        console.print(f"{_LEGEND}\n{threshold_in_words(log)}")
    if log.contradictions.steps:
        console.print("", contradictions.table(log.contradictions, log.q), sep="\n")
        console.print(contradictions.in_words(log.contradictions, log.q))
    if examined.rows(log.entries):
        console.print("", examined.table(log.entries), examined.IN_WORDS, sep="\n")
    if not log.explained:
        console.print(beyond_in_words(log))
    if log.config.vote == "tolerance":
        console.print(_TOLERANCE.format(log.config.vote_tolerance))


def table(log: Log) -> Table:
    """One row per worker that did anything but agree, the worst first."""
    kinds = [kind for kind in reversed(KINDS) if any(kind in finding.counts for finding in log.findings)]
    gone = any(finding.dead or finding.quarantined for finding in log.findings)
    out = Table(box=SIMPLE_HEAD, show_edge=False)
    for name in ("worker", "rank"):
        out.add_column(name, justify="right")
    out.add_column("host", overflow="fold", max_width=24)
    for name in (*kinds, "steps"):
        out.add_column(name, justify="right")
    for name in ("pattern", "verdict", *(["out"] if gone else [])):
        out.add_column(name)
    for one in log.findings:
        ends = [f"dead {one.dead}"] * bool(one.dead) + [f"quarantined {one.quarantined}"] * bool(one.quarantined)
        out.add_row(
            "?" if one.worker is None else str(one.worker),
            str(one.rank),
            Text(one.host),
            *(str(one.counts.get(kind, "")) for kind in kinds),
            "-".join(dict.fromkeys(str(step) for step in (one.first, one.last) if step is not None)),
            one.pattern,
            one.verdict,
            *([", ".join(ends)] if gone else []),
        )
    return out


def host_table(log: Log) -> Table:
    """One row per host: its workers in the table above by verdict, and their entries."""
    out = Table("host", "workers", "entries", box=SIMPLE_HEAD, show_edge=False)
    for host, of in log.hosts.items():
        entries = (f"{of['counts'][kind]} {kind}" for kind in reversed(KINDS) if of["counts"][kind])
        out.add_row(
            Text(host), ", ".join(f"{n} {verdict}" for verdict, n in of["verdicts"].items()), ", ".join(entries)
        )
    return out


def threshold_in_words(log: Log) -> str:
    """From how many dissents on a worker is suspect, and why."""
    config, least = log.config, suspicious(log.steps, log.chance)
    assumed = f"Assumed: at most q = {log.q} of {counted(config.p, 'worker')} are Byzantine{_whence(log)}"
    if not log.explained:
        return "Here dissents make nobody suspect:"
    if log.chance == 0:
        return f"{assumed}, never the\nmajority of r = {config.r}: one dissent makes a worker suspect."
    if config.worker_momentum:
        return (
            "worker_momentum: whoever misses a step dissents from then on, honest or not: dissents make nobody suspect."
        )
    if config.groups != "redrawn":
        return (
            f"groups = {config.groups}: a vote alone cannot tell which side of a split group is honest, so dissents\n"
            "make nobody suspect."
        )
    if least > log.steps:
        return f"{log.steps} steps are too few for dissents to make a worker suspect."
    return (
        f"{assumed}. Then {least} dissents in\n"
        f"{log.steps} steps make one suspect: an honest worker is outvoted in at most {log.chance:.2%} of the\n"
        "steps, and so often by chance in less than one of 1e9 runs."
    )


def _whence(log: Log) -> str:
    if log.q == log.config.q:
        return ""
    return ", as many as aggregator.f tolerates" if log.q == assumed(log.config) else ", as -q says"


def beyond_in_words(log: Log) -> str:
    """That the assumption is wrong, and by how much at least."""
    drill = ""
    if log.config.q and log.config.attack.placement == "random":
        drill = '\nattack.placement = "random" draws other workers in each step: in all more than q are Byzantine.'
    return (
        f"more than q = {log.q}{_whence(log)}: so few Byzantine workers cannot have outvoted all\n"
        f"these by chance. There are {log.least} at least, or hosts that do not compute equal bits, and who is\n"
        f"Byzantine cannot be told from dissents then. -q {log.least} names those whom so many explain.{drill}"
    )
