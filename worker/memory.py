"""The memory that a host has left for a process: of the machine, and of the control groups that it is in."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
_V2 = "memory.max", "memory.current", "inactive_file"


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of main memory that a new process could have, at least 1; 0 where the system does not say.

    What the machine has available, or less where the limit of a control group, v1 or v2, of a container, a batch job
    or a service, leaves less. Files in memory that a group can drop are available, as those of the machine are.

    Args:
        root: where /proc and /sys are.
    """
    found = [*_of_machine(root), *_of_groups(root)]
    return max(1, min(found)) if found else 0


def _of_machine(root: Path) -> Iterator[int]:
    with suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])


def _of_groups(root: Path) -> Iterator[int]:
    """Of each group with a limit that this process is in."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _of_hierarchy(root / "sys/fs/cgroup", path, *_V2)
            elif "memory" in controllers.split(","):
                yield from _of_hierarchy(root / "sys/fs/cgroup/memory", path, *_V1)


def _of_hierarchy(top: Path, path: str, limit: str, used: str, dropped: str) -> Iterator[int]:
    """Of a group and those that it is in; in a container its path may be the host's, and the top the group itself."""
    group = top / path.strip("/")
    for folder in (group, *group.parents):
        if folder.is_relative_to(top):
            with suppress(OSError, ValueError):  # no such group, or no limit: "max"
                most, taken = (int((folder / name).read_text()) for name in (limit, used))
                facts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield most - taken + int(facts.get(dropped, 0))
