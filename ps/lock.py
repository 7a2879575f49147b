"""One job per folder: a lock that holds on shared disks too, and is found out where its holder is gone."""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import OwnerRecord, SoftFileLease, Timeout

from detox.errors import UserError

_NAME = "lock"
BEAT = 2.0  # seconds between two signs of life
LEASE = 60.0  # seconds without one until a holder on another host counts as gone


class LockedError(UserError):
    """Another job works in the folder; the message says on which host, and its process."""


class Lock:
    """The right to write into a run's folder.

    A file with host, process and start time of the holder, who touches it every other second. On the holder's host it
    is known at once whether that process lives; elsewhere its silence has to be waited for.

    Args:
        folder: of the run; it is made.
        say: told where it takes longer.
    """

    def __init__(self, folder: Path, say: Callable[[str], object]) -> None:
        self._folder = folder
        self._path = folder / _NAME
        self._say = say
        self._lease = SoftFileLease(
            self._path,
            lease_duration=LEASE,
            heartbeat_interval=BEAT,
            thread_local=False,
            on_compromise=lambda _: None,
        )

    @property
    def lost(self) -> bool:
        """Whether another job has taken the folder, because this one was stopped for so long, or it was deleted."""
        return self._lease.compromise is not None

    @contextmanager
    def held(self) -> Iterator["Lock"]:
        """Holds the lock, to the end of the block.

        Raises:
            LockedError: another job does.
            OSError: the folder cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._acquire()
        try:
            yield self
        finally:
            self._lease.release()

    def _acquire(self) -> None:
        try:
            self._lease.acquire(timeout=0)
            return
        except Timeout:
            owner = self._lease.owner
        if owner is not None and _runs_here(owner):
            raise LockedError(_in_words(self._folder, owner))
        if owner is not None:
            self._say(f"{_in_words(self._folder, owner)} Waiting for a sign of life, for {LEASE:g} s at most")
        first = _seen(self._path)
        if owner is None and first is not None and not first[1]:
            self._remove_empty(first)
        try:
            self._lease.acquire(timeout=2 * LEASE, cancel_check=lambda: _seen(self._path) != first)
        except Timeout:
            owner = self._lease.owner or owner
            raise LockedError(
                f"another job works in {self._folder}" if owner is None else _in_words(self._folder, owner)
            ) from None

    def _remove_empty(self, first: tuple[int, int]) -> None:
        """Removes a lock whose content was lost with the power; its writer would have filled it long ago."""
        time.sleep(BEAT)
        if _seen(self._path) == first:
            self._path.unlink(missing_ok=True)


def check_unlocked(folder: Path, say: Callable[[str], object]) -> None:
    """Raises LockedError where a job works in the folder, which need not exist; leaves nothing there."""
    if (folder / _NAME).exists():
        with Lock(folder, say).held():
            pass


def is_held(folder: Path) -> bool:
    """Whether a job works in the folder, as far as that can be seen at once: on another host, by its signs of life."""
    path = folder / _NAME
    owner = SoftFileLease(path, lease_duration=LEASE).owner if path.exists() else None
    if owner is None:
        return False
    if owner.hostname.partition("?")[0] == platform.node():
        return _runs_here(owner)
    seen = _seen(path)
    return seen is not None and time.time() - seen[0] / 1e9 < LEASE


def _seen(path: Path) -> tuple[int, int] | None:
    """What changes with each sign of life, and the size; None where there is no file."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _runs_here(owner: OwnerRecord) -> bool:
    """Whether the holder is a process of this host, and is no zombie."""
    if owner.hostname.partition("?")[0] != platform.node() or owner.start is None:
        return False
    try:
        fields = Path(f"/proc/{owner.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    started = int(fields[19])  # in ticks since the boot, see proc(5); the token has the boot above it
    return fields[0] not in "ZX" and started == owner.start % 2**64


def _in_words(folder: Path, owner: OwnerRecord) -> str:
    host = owner.hostname.partition("?")[0]
    return f"another job works in {folder}: process {owner.pid} on host {host}."
