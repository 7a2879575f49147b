"""What the measurements of `detox-ps doctor` mean: green, yellow or red, and what to do."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Literal

import detox.aggregators
from detox.aggregators import shares
from detox.config import Config
from detox.config.memory import least, of_rank, of_server
from detox.errors import UserError
from detox.errors.words import counted, named
from detox.launch.mpirun import assign_ranks
from detox.launch.patients import Patient
from detox.ps.ballots.tolerance import distance
from detox.ps.optimizers import kept_by

Level = Literal["green", "yellow", "red"]

_CLOCK = 1.0  # seconds by which clocks may differ
_SLOW = 4.0  # times the median of all ranks
_MARGIN = 4  # one file is measured here; others differ by more or less
_SOFTWARE = ("python", "torch", "cpu_capability", "threads", "machine", "gpu", "gpu_driver", "cuda", "cudnn")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        level: green: fine; yellow: a run works, but see `advice`; red: a run would fail.
        what: what was looked at.
        found: in words.
        advice: what to do; empty where there is nothing.
    """

    level: Level
    what: str
    found: str
    advice: str = ""


def of_mpi(library: str, lost: str) -> Check:
    """The MPI, and what it cannot survive."""
    if lost:
        return Check(
            "yellow", "MPI", f"{library}; {lost}", "Open MPI 5 with ULFM loses nothing: see docs/threat-model.md"
        )
    return Check("green", "MPI", f"{library}, with ULFM: a rank that dies does not end the job")


def of_folder(config: Config, size: int | None) -> list[Check]:
    """Disk and numba's cache on the PS's host; `size` is d + b, None where it is not known."""
    folder = Path(config.output)
    exists = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    checks = []
    if not os.access(exists, os.W_OK):
        checks.append(Check("red", "run folder", f"{exists} cannot be written", "give another --output"))
    free = shutil.disk_usage(exists).free
    needed = 3 * 4 * (size or 0) * (config.checkpoints_kept + 1)
    level: Level = "red" if free < needed else "yellow" if free < 10 * needed else "green"
    found = f"{free / 1e9:.1f} GB free for {folder}; checkpoints may take {needed / 1e9:.3f} GB"
    checks.append(Check(level, "disk", found, "" if level == "green" else "free some, or lower checkpoints_kept"))
    cache = Path(os.environ.get("NUMBA_CACHE_DIR", str(Path(next(iter(detox.aggregators.__path__))) / "__pycache__")))
    if os.access(cache if cache.exists() else cache.parent, os.W_OK):
        checks.append(Check("green", "numba cache", str(cache)))
    else:
        advice = "set NUMBA_CACHE_DIR to a folder that can be written, or each start compiles the aggregators again"
        checks.append(Check("yellow", "numba cache", f"{cache} cannot be written", advice))
    return checks


def of_ranks(patients: Sequence[Patient], missing: Sequence[int], ps_host: str) -> list[Check]:
    """Who is there, where, with which data and software."""
    checks = []
    if missing:
        found = f"{named(missing, {})} died, or had not loaded data and model within transport.start_deadline"
        checks.append(Check("red", "ranks", found, "look at what they printed above"))
    failed = [patient for patient in patients if "error" in patient.facts]
    checks += [Check("red", f"data on rank {one.rank}", f"{one.host}: {one.facts['error']}") for one in failed]
    hosts = Counter([ps_host, *(patient.host for patient in patients)])
    found = f"{counted(len(patients), 'rank')} of workers and the PS, on {counted(len(hosts), 'host')}"
    crowded = sorted(host for host, count in hosts.items() if count > 1)
    if len(hosts) > 1 and crowded:
        advice = "one rank per host, the PS alone on the first: a hostfile with each host once, and --map-by node"
        checks.append(Check("yellow", "places", f"{found}; several ranks on {', '.join(crowded)}", advice))
    else:
        checks.append(Check("green", "places", found))
    for name in _SOFTWARE:
        values = Counter(patient.facts.get(name, "") for patient in patients if "error" not in patient.facts)
        if len(values) > 1:
            common = values.most_common(1)[0][0]
            odd = [patient.rank for patient in patients if patient.facts.get(name, "") not in ("", common)]
            found = f"{common or 'none'} on most ranks, another on {named(odd, {})}"
            checks.append(Check("yellow", name, found, "unequal software computes unequal bits: see bits below"))
    return checks


def of_network(patients: Sequence[Patient], gradient: int) -> list[Check]:
    """Latency, bandwidth and clocks; `gradient` is the size of one in bytes, 0 where it is not known."""
    checks = []
    silent = [patient.rank for patient in patients if patient.latency is None and "error" not in patient.facts]
    if silent:
        checks.append(Check("red", "network", f"{named(silent, {})} did not answer", "is the host still there?"))
    measured = [patient for patient in patients if patient.latency is not None and patient.bandwidth]
    if not measured:
        return checks
    latency = median(patient.latency or 0.0 for patient in measured)
    bandwidth = median(patient.bandwidth or 0.0 for patient in measured)
    found = f"latency {1000 * latency:.2f} ms and {bandwidth / 1e6:.0f} MB/s to the PS, medians"
    if gradient:
        found += f"; one gradient of {gradient / 1e6:.1f} MB takes {latency + gradient / bandwidth:.3f} s"
    slow = [
        patient
        for patient in measured
        if (patient.latency or 0.0) > max(_SLOW * latency, 0.002) or (patient.bandwidth or 0.0) * _SLOW < bandwidth
    ]
    if slow:
        which = ", ".join(f"{p.rank} on {p.host}" for p in slow)
        advice = "a slow host holds up a group only where the others of the group do not agree; better replace it"
        checks.append(Check("yellow", "network", f"{found}; over {_SLOW:g} times slower: rank {which}", advice))
    else:
        checks.append(Check("green", "network", found))
    wrong = [p for p in measured if p.clock is not None and abs(p.clock) > _CLOCK]
    if wrong:
        which = ", ".join(f"rank {p.rank} on {p.host} by {p.clock:+.1f} s" for p in wrong)
        checks.append(Check("yellow", "clocks", f"off: {which}", "start NTP; only the times in logs depend on it"))
    else:
        checks.append(Check("green", "clocks", f"all within {_CLOCK:g} s of the PS's"))
    return checks


def of_memory(patients: Sequence[Patient], config: Config, gradient: int, ps_host: str, ps_memory: int) -> list[Check]:
    """Whether hosts can keep what their workers claimed, and the PS's its votes; ranks of one host share what it has.

    Args:
        patients: ranks of workers; no or zero memory: not known.
        config: the run's.
        gradient: bytes, 0 where it is not known.
        ps_host, ps_memory: the PS's host, and the bytes that it has available; 0: not known.
    """
    available = {patient.host: patient.memory for patient in patients if patient.memory}
    available |= {ps_host: ps_memory} if ps_memory else {}
    if not gradient or not available:
        return []
    further = range(1, config.servers)
    workers = config.workers_per_rank or -(-config.p // max(1, len(patients) - len(further)))
    state = kept_by(config.optimizer.name, config.optimizer.arguments)
    admits = config.transport.channel == "tcp"
    own, part = (
        gradient * of_server(config, gradient // 4, state=state, further=other, admits=admits)
        for other in (False, True)
    )
    of_workers = round(gradient * of_rank(config, workers, gradient // 4))
    needed: Counter[str] = Counter({ps_host: round(own)})
    for patient in patients:
        needed[patient.host] += round(part) if patient.rank in further else of_workers
    short = [
        f"{host} has {memory / 1e9:.1f} GB and needs about {needed[host] / 1e9:.1f}"
        for host, memory in available.items()
        if memory < needed[host]
    ]
    if short:
        may_do = all(memory >= least(config) * needed[host] for host, memory in available.items())
        level: Level = "yellow" if may_do else "red"  # as a run's start warns or refuses
        return [Check(level, "memory", "; ".join(short), "fewer workers on these hosts, or a smaller model")]
    tight = min(available, key=lambda host: available[host] / max(1, needed[host]))
    found = f"{available[tight] / 1e9:.1f} GB available on {tight}, about {needed[tight] / 1e9:.1f} GB needed"
    return [Check("green", "memory", found)]


def of_servers(config: Config, d: int, ranks: int) -> list[Check]:
    """Whether there are parameters and ranks enough for several servers.

    Args:
        config: the run's.
        d: parameters, 0 where they are not known.
        ranks: besides the PS's.
    """
    if config.servers == 1:
        return []
    try:
        assign_ranks(config, ranks)
        largest = max(share.d for share in shares(d, 0, config.servers)) if d else 0
    except UserError as error:
        return [Check("red", "servers", str(error), "fewer servers, or more hosts")]
    found = f"ranks 0 to {config.servers - 1} share the model" + f", at most {largest / d:.0%} each" * bool(d)
    return [Check("green", "servers", found)]


def of_bits(patients: Sequence[Patient], own: bytes | None, config: Config, d: int, exact: int = 0) -> list[Check]:
    """Which ranks compute equal bits, why those that differ may do so, and how far they are apart.

    Args:
        patients: ranks of workers, with digests of the probe.
        own: the PS's digest; None where it has none.
        config: the run's.
        d, exact: entries of the gradient, and of the buffers that have to be equal; see distance.
    """
    classes: dict[bytes, list[Patient]] = {}
    for patient in patients:
        if patient.digest is not None:
            classes.setdefault(patient.digest, []).append(patient)
    if not classes:
        return []
    ordered = sorted(classes.values(), key=lambda members: -len(members))
    checks = []
    if len(ordered) == 1:
        checks.append(Check("green", "bits", _alike(len(ordered[0]))))
    else:
        lines = [f"{len(ordered)} classes of ranks that compute equal gradients:"]
        for members in ordered:
            told = {name: members[0].facts.get(name, "") for name in _SOFTWARE}
            words = ", ".join(f"{name} {value}" for name, value in told.items() if value)
            lines.append(f"       {named([p.rank for p in members], {})}: {words}")
        advice = 'groups whose members differ never agree: use hosts of one class, or groups_within = "class", or r = 1'
        kept = [p.gradient for members in ordered for p in members if p.gradient is not None]
        apart = max((distance(a, b, d, exact) for a, b in combinations(kept, 2)), default=0.0)
        if 0 < _MARGIN * apart < 1:
            lines.append(f"       their gradients are up to {apart:.1e} of their length apart")
            advice += (
                f', or vote = "tolerance" with vote_tolerance = {_MARGIN * apart:.1e}, which is weaker: see '
                "docs/threat-model.md"
            )
        agree = config.vote == "tolerance" and 0 < apart <= config.vote_tolerance
        agree |= config.groups_within == "class" or config.r == 1
        checks.append(Check("yellow" if agree else "red", "bits", "\n".join(lines), advice))
    others = [p.rank for members in ordered for p in members if own is not None and p.digest != own]
    if others:
        advice = 'leave recomputation off: on_tie = "drop", quarantine.policy not recompute, audit.ps = 0'
        found = f"the PS computes other bits than {named(sorted(others), {})}"
        checks.append(Check("red" if config.recomputes else "yellow", "bits of the PS", found, advice))
    return checks


def _alike(ranks: int) -> str:
    return f"all {ranks} ranks compute equal gradients" if ranks > 1 else "one rank, and none that could differ"
