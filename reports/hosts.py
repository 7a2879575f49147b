"""The hosts of many runs: which of them offended in which, how surely, and how what they computed was wrong."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from detox.errors.words import counted
from detox.ps.diagnosis import Diagnosis
from detox.reports.evidence import Verdict
from detox.reports.log import Log
from detox.reports.records import RunError

ORDER: tuple[Verdict, ...] = ("proven", "suspect", "absent", "no proof")
ACCUSED: tuple[Verdict, ...] = ("proven", "suspect")
IN_WORDS = """\
the worst verdict of a host's workers counts, with the steps of their offences. Only "proven" and "suspect" say that
something is wrong there: honest workers, too, dissent where Byzantine workers win a vote. wrong claims: those of its
proven and suspect workers that were examined, by what is wrong in most of their wrong entries."""
_RUNS = 3  # that a sentence names


@dataclass(frozen=True)
class Offence:
    """What a host did in a run.

    Attributes:
        run: the run's folder.
        verdict: the worst of its workers.
        workers, ranks: those with this verdict, and their ranks; ? for a rank where no worker is named.
        first, last: steps of their first and last offence; None where there is none, as of a rank that is lost.
        entries: of all its workers in the ledger by kind, without agreements.
        faults: how examined claims of proven or suspect workers differed from what is right: claims by class.
    """

    run: Path
    verdict: Verdict
    workers: tuple[str, ...]
    ranks: tuple[int, ...]
    first: int | None
    last: int | None
    entries: Counter[str]
    faults: Counter[str]

    def __str__(self) -> str:
        return f"{self.run.name}: {self.verdict}" + f", steps {self.steps}" * bool(self.steps)

    @property
    def workers_in_words(self) -> str:
        """Those with this verdict, and their ranks."""
        return ", ".join(f"{worker} ({rank})" for worker, rank in zip(self.workers, self.ranks, strict=True))

    @property
    def steps(self) -> str:
        """Those of the first and the last offence, in words; empty where there is none."""
        return "-".join(dict.fromkeys(str(step) for step in (self.first, self.last) if step is not None))


@dataclass(frozen=True)
class Host:
    """A host that offended.

    Attributes:
        name: as its ranks call it.
        offences: one for each run in which its workers did anything but agree, in the order of the runs.
    """

    name: str
    offences: tuple[Offence, ...]

    @property
    def verdicts(self) -> Counter[Verdict]:
        """In how many runs its worst worker had which verdict."""
        return Counter(offence.verdict for offence in self.offences)

    @property
    def entries(self) -> Counter[str]:
        """Of all runs."""
        return sum((offence.entries for offence in self.offences), Counter[str]())

    @property
    def faults(self) -> Counter[str]:
        """Of all runs."""
        return sum((offence.faults for offence in self.offences), Counter[str]())

    @property
    def worst(self) -> tuple[Offence, ...]:
        """The runs with the worst of its verdicts."""
        worst = min(self.verdicts, key=ORDER.index)
        return tuple(offence for offence in self.offences if offence.verdict == worst)

    @property
    def accused(self) -> tuple[Offence, ...]:
        """The runs in which it was proven, or suspect."""
        return tuple(offence for offence in self.offences if offence.verdict in ACCUSED)

    def in_words(self, runs: int) -> str:
        """Of how many runs it was proven or suspect in which, and how it computed wrong."""
        faults = f"; claims with {_counts(self.faults)}" if self.faults else ""
        return f"{self.name} offended in {len(self.accused)} of {counted(runs, 'run')}: {_named(self.accused)}{faults}"


def hosts_of(logs: Iterable[tuple[Path, Log]]) -> list[Host]:
    """The hosts whose workers did anything but agree, those that were proven in the most runs first.

    Args:
        logs: folder and log of each run.
    """
    found: dict[str, list[Offence]] = {}
    for path, log in logs:
        names = {finding.host for finding in log.findings}
        for name in sorted(names):
            found.setdefault(name, []).append(_offence(path, log, name))
    hosts = [Host(name, tuple(offences)) for name, offences in found.items()]
    return sorted(hosts, key=lambda host: ([-host.verdicts[verdict] for verdict in ORDER], host.name))


def logs_in(paths: Iterable[Path], q: int | None = None) -> tuple[list[tuple[Path, Log]], list[str]]:
    """The logs of the runs that have one, and why there is none of the others.

    Args:
        paths: folders of runs.
        q: see Log.read.
    """
    logs, errors = [], []
    for path in dict.fromkeys(paths):
        try:
            logs.append((path, Log.read(path, q)))
        except RunError as error:
            errors.append(str(error))
    return logs, errors


def runs_below(folder: Path) -> list[Path]:
    """The folders of runs in a folder, and itself if it is one; not those farther down."""
    try:
        return [path for path in (folder, *sorted(folder.iterdir())) if (path / "config.toml").is_file()]
    except OSError:  # no folder, or none that can be read
        return []


def table(hosts: Iterable[Host]) -> Table:
    """One row per host."""
    out = Table(box=SIMPLE_HEAD, show_edge=False)
    out.add_column("host", overflow="fold", max_width=18)
    out.add_column("verdicts\nin runs")
    for name in ("the worst in", "worker (rank)"):
        out.add_column(name, no_wrap=True, overflow="ellipsis", max_width=22)  # a line of its own for each run
    for name in ("steps", "entries", "wrong claims"):
        out.add_column(name)
    for host in hosts:
        shown, more = host.worst[-_RUNS:], len(host.worst) - _RUNS
        out.add_row(
            Text(host.name),
            "\n".join(f"{host.verdicts[one]} {one}" for one in ORDER if host.verdicts[one]),
            Text("\n".join([one.run.name for one in shown] + [f"and {more} more"] * (more > 0))),
            "\n".join(one.workers_in_words for one in shown),
            "\n".join(one.steps for one in shown),
            _counts(host.entries, "\n"),
            _counts(host.faults, "\n"),
        )
    return out


def as_json(hosts: Iterable[Host]) -> list[dict[str, Any]]:
    """All that the table says, and more."""
    return [
        {
            "host": host.name,
            "verdicts": dict(host.verdicts),
            "entries": dict(host.entries),
            "faults": dict(host.faults),
            "runs": [{**vars(offence), "run": str(offence.run)} for offence in host.offences],
        }
        for host in hosts
    ]


def class_of(found: Diagnosis) -> str:
    """What is wrong in a claim, in the terms of what is known of faults in GPUs (docs/attacks.md).

    zeros, NaN or infinity, one bit, several bits: as most of its wrong entries are. In stripes: three of them or more
    are wrong, all of them multiples of 2 to 16 apart. Empty where none was found wrong.
    """
    classes = {
        "zeros": found.zeros,
        "NaN or infinity": found.nonfinite,
        "one bit": found.single,
        "several bits": found.flips - found.single,
    }
    if not any(classes.values()):
        return ""
    striped = found.entries > 2 and 2 <= found.stride <= 16
    return max(classes, key=classes.__getitem__) + " in stripes" * striped


def _offence(path: Path, log: Log, host: str) -> Offence:
    findings = [finding for finding in log.findings if finding.host == host]
    worst = min((finding.verdict for finding in findings), key=ORDER.index)
    accused = [finding for finding in findings if finding.verdict == worst]
    entries = sum((Counter(finding.counts) for finding in findings), Counter[str]())
    del entries["agreed"]
    guilty = {finding.worker for finding in findings if finding.verdict in ACCUSED}
    return Offence(
        path,
        worst,
        tuple("?" if one.worker is None else str(one.worker) for one in accused),
        tuple(one.rank for one in accused),
        min((one.first for one in accused if one.first is not None), default=None),
        max((one.last for one in accused if one.last is not None), default=None),
        entries,
        Counter(
            name
            for entry in log.entries
            if entry["host"] == host and entry["worker"] in guilty and "diagnosis" in entry
            if (name := class_of(entry["diagnosis"]))
        ),
    )


def _named(offences: Sequence[Offence]) -> str:
    more = f"; and {len(offences) - _RUNS} more" if len(offences) > _RUNS else ""
    return "; ".join(map(str, offences[-_RUNS:])) + more


def _counts(of: Counter[str], between: str = ", ") -> str:
    return between.join(f"{count} {name}" for name, count in of.most_common() if count)
