"""`detox-ps blame`: what the ledger of a run says of each worker, while the run goes on or after."""

import json
import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from detox.errors.words import counted
from detox.reports import contradictions, examined, hosts
from detox.reports.evidence import KINDS, suspicious
from detox.reports.figures import picture, picture_file
from detox.reports.heatmap import heatmap
from detox.reports.log import Log
from detox.reports.records import RunError
from detox.reports.terminal import printer
from detox.reports.verdicts import legend, threshold_in_words, tolerance_in_words, undisputed_in_words


def blame(argv: list[str]) -> int:
    """Prints what is known of each worker and draws the picture; returns 0. Raises UserError where it cannot."""
    options = parser().parse_args(argv)
    if options.q is not None and options.q < 0:
        raise RunError(f"-q is at least 0, got {options.q}")
    if options.all:
        return _blame_all(options)
    if len(options.run) > 1:
        raise RunError(f"one run, got {len(options.run)}; --all tells of many, by host")
    log = Log.read(options.run[0], options.q)
    if options.json:
        print(json.dumps(as_json(log), indent=2))
    else:
        _print(log)
    if options.plot is not None:
        picture(lambda: heatmap(log.entries, log.config, log.steps, log.contradictions, log.graph_q), options.plot)
    return 0


def _blame_all(options: Namespace) -> int:
    """Prints what is known of the hosts of many runs; raises RunError where none of them can be read."""
    if options.plot is not None:
        raise RunError("--plot draws one run")
    paths = [path for path in options.run if path.suffix != ".toml" or path.is_dir()]  # a glob has those of a sweep too
    logs, errors = hosts.logs_in(paths, options.q)
    if not logs:
        raise RunError("; ".join(errors) or "there is no run")
    for error in errors:
        print(f"warning: {error}, and is left out", file=sys.stderr)
    found = hosts.hosts_of(logs)
    if options.json:
        print(json.dumps({"runs": [str(path) for path, _ in logs], "hosts": hosts.as_json(found)}, indent=2))
        return 0
    console = printer()
    if found:
        console.print(hosts.table(found))
    console.print(f"{counted(len(logs), 'run')};" + (f"\n{hosts.IN_WORDS}" if found else " nothing but agreement"))
    return 0


def parser() -> ArgumentParser:
    """The command line."""
    line = ArgumentParser(
        "detox-ps blame", description="Which workers offended, when, and what that proves.", allow_abbrev=False
    )
    line.add_argument(
        "run", nargs="+", type=Path, metavar="RUN", help="a run's folder; the run may be going on; many with --all"
    )
    line.add_argument("--all", action="store_true", help="all these runs by host: which offended in which")
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
        "undisputed": log.undisputed,
        "workers": [asdict(finding) for finding in log.findings],
        "hosts": log.hosts,
        "examined": [
            {**entry, "diagnosis": asdict(entry["diagnosis"])} for entry in log.entries if "diagnosis" in entry
        ],
        "contradictions": contradictions.as_json(log.contradictions, log.graph_q),
    }


def _print(log: Log) -> None:
    console = printer()
    if log.findings:
        console.print(table(log))
    console.print(f"{log.agreeing} of {counted(log.config.p, 'worker')}: nothing but agreement, in {log.steps} steps")
    console.print(f"{undisputed_in_words(log)}\n")
    if len(log.hosts) > 1 and any(host["verdicts"].total() > 1 for host in log.hosts.values()):
        console.print(host_table(log), "", sep="\n")
    if log.findings:
        console.print(f"{legend(log)}\n{threshold_in_words(log)}")
    if log.contradictions.steps:
        console.print("", contradictions.table(log.contradictions, log.graph_q), sep="\n")
        console.print(contradictions.in_words(log.contradictions, log.graph_q, log.explained))
    if examined.rows(log.entries):
        console.print("", examined.table(log.entries), examined.IN_WORDS, sep="\n")
    if log.config.vote == "tolerance":
        console.print(tolerance_in_words(log.config))


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
