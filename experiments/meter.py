"""What the servers' processes and the links of the hosts have done by each step of a run; see experiments.cluster."""

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).parents[1] / "launch" / "namespaces.sh"


@dataclass(frozen=True)
class Reading:
    """What was so at a moment.

    Attributes:
        seconds: on a monotonic clock.
        cpu: seconds that each server's process has computed, this one's first.
        links: bytes that each host's link has carried, all headers included: (in, out), the PS's first.
    """

    seconds: float
    cpu: tuple[float, ...]
    links: tuple[tuple[int, int], ...]


servers: list[int] = []
"""Processes of further servers, on this machine."""
readings: list[Reading] = []
"""One for each step since this was cleared."""


def read() -> Reading:
    """The present state."""
    seconds, cpu = time.monotonic(), (time.process_time(), *map(cpu_of, servers))
    told = subprocess.run([_SCRIPT, "traffic"], check=True, capture_output=True, text=True).stdout
    rows = sorted(tuple(map(int, line.split())) for line in told.splitlines())
    return Reading(seconds, cpu, tuple((into, out) for _, into, out in rows))


def cpu_of(process: int) -> float:
    """Seconds of CPU time of another process, in its own code and in the kernel."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def log(step: int, numbers: Mapping[str, float]) -> None:
    """A run's `metrics`: reads after each step."""
    readings.append(read())
