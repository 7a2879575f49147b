"""What a run was made with beside its config: source, data, versions, ranks, machine. A change is told."""

import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from blake3 import blake3

import detox.ps
from detox.config import Config
from detox.errors import UserError
from detox.ps.folder import RunFolder
from detox.tasks import Task
from detox.tasks.digest import data_digest, source_digests

_SOURCE = "source of "  # before the name of a module
_DECIDING = ("aggregators", "assignment", "config", "ps", "tasks", "wire", "worker")  # folders of the package


class ChangedError(UserError):
    """The run in the folder was made with something else; the message says what, and what to do."""


def facts_of(config: Config, task: Task) -> dict[str, str]:
    """What decides the bits of the run wherever it is made, by name."""
    return {
        **{f"{_SOURCE}{module}": digest for module, digest in source_digests(config.task).items()},
        "data": data_digest(task),
        "detox": f"{version('detox-ps')} ({_own_source()})",
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "numba": version("numba"),
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def place_of(config: Config, ranks: int) -> dict[str, str]:
    """Where this job makes it: the ranks, the PS and those of workers, and the class of the PS's machine."""
    where = platform.machine(), torch.backends.cpu.get_cpu_capability()
    gpu = (torch.cuda.get_device_name(torch.device(config.device)),) if config.device != "cpu" else ()
    return {"ranks": str(ranks), "machine": " ".join(where + gpu)}


def workers_of(fingerprints: Mapping[int, Mapping[str, object]]) -> dict[str, str]:
    """The classes of the workers' machines.

    Args:
        fingerprints: by rank, see detox.launch.environment.fingerprint.
    """
    parts = ("machine", "cpu_capability", "gpu", "torch")
    classes = {" ".join(str(facts[part]) for part in parts if facts.get(part)) for facts in fingerprints.values()}
    return {"machines of workers": ", ".join(sorted(classes))}


def changes(folder: RunFolder, facts: Mapping[str, str]) -> list[str]:
    """A sentence for each of these facts that is another now than when the folder's run was made."""
    old = folder.read_provenance()
    if old is None:
        return ["what it was made with is not known: its provenance.json is missing or damaged"]
    names = [*facts, *(name for name in old if name.startswith(_SOURCE) and name not in facts and "data" in facts)]
    told = {name: (old.get(name, "none"), facts.get(name, "none")) for name in names}
    return [f"{name}: was {before}, is now {now}" for name, (before, now) in told.items() if before != now]


def in_words(folder: RunFolder, found: list[str]) -> str:
    """What has changed, and what to do."""
    state = "has finished" if folder.done else "was interrupted"
    goes_on = "takes it as it is" if folder.done else "goes on with what there is now"
    return (
        f"the run in {folder.path} {state}, and what it was made with has changed:\n"
        + "".join(f"  {sentence}\n" for sentence in found)
        + f"--accept-changes {goes_on}; --no-resume starts over"
    )


def check(folder: RunFolder, facts: Mapping[str, str], accept: bool, say: Callable[[str], object]) -> None:
    """Compares with what the folder's run was made with, if there is something of it to go on with, and notes `facts`.

    Args:
        folder: of the run.
        facts: some or all.
        accept: whether changes are wanted.
        say: told of changes that are.

    Raises:
        ChangedError: there are, and they are not wanted.
    """
    found = changes(folder, facts) if folder.done or folder.resumable else []
    if found and not accept:
        raise ChangedError(in_words(folder, found))
    for sentence in found:
        say(f"accepted: {sentence}")
    old = folder.read_provenance() or {}
    kept = {name: value for name, value in old.items() if not (name.startswith(_SOURCE) and "data" in facts)}
    accepted = {f"accepted {time.strftime('%Y-%m-%dT%H:%M:%S%z')}": "; ".join(found)} if found else {}
    folder.write_provenance({**kept, **facts, **accepted})


def _own_source() -> str:
    """BLAKE3 of the package's own sources that decide a result: in a checkout the version stays."""
    root, hasher = Path(detox.ps.__file__).parent.parent, blake3()
    for path in sorted(path for name in _DECIDING for path in (root / name).rglob("*.py")):
        hasher.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return hasher.hexdigest(4)
