"""What earlier runs say of the hosts that `detox-ps doctor` examines."""

from collections.abc import Iterable
from pathlib import Path

from detox.errors.words import counted
from detox.launch.checkup import Check
from detox.reports.hosts import hosts_of, logs_in, runs_below

_ADVICE = "leave it out of the hostfile until its hardware is tested, or check what it computes: see docs/integrity.md"


def of_history(hosts: Iterable[str], folder: Path) -> list[Check]:
    """A yellow check for each of the hosts that was proven or suspect in a run of the folder; else a green one.

    Args:
        hosts: their names for themselves, in any order and more than once.
        folder: with folders of runs in it.
    """
    logs, errors = logs_in(runs_below(folder))
    here, runs = set(hosts), len(logs)
    found = [host for host in hosts_of(logs) if host.name in here and host.accused]
    checks = [Check("yellow", "history", host.in_words(runs), _ADVICE) for host in found]
    if errors:
        left_out = f"{counted(len(errors), 'run')} of {folder} cannot be read: {errors[0]}"
        checks.append(Check("yellow", "history", left_out))
    if not found:
        checks.append(Check("green", "history", f"no host of these offended in the {counted(runs, 'run')} of {folder}"))
    return checks
