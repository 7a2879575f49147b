"""A step's seconds, bytes and CPU by method, where each rank has a host with a slow link; see experiments/cluster.sh.

python -m experiments.cluster --hostfile HOSTS [--methods star relay ...] [--hostile 5]

All methods run in one job, one after the other, as often as --rounds says: runs of DETOX as `detox-ps train` makes
them, with a task that computes next to nothing, and MPI's collectives on vectors as long. All have as many workers:
where one has several servers, the last hosts have no part in what has fewer. The first step of each is not counted.
Open MPI's waiting ranks yield, for few cores stand for many hosts.
"""

import argparse
import csv
import gc
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from detox.config import ConfigError, read_config
from detox.errors import DetoxError, JobError
from detox.launch import environment
from detox.launch.mpirun import mpirun_line
from experiments import forks

PS = 0
_NONE = ("--compression.codec", "none")
_STAR, _RELAY = ("--transport.relay", "star"), ("--transport.relay", "relay")
HOSTILE = ("relay_withhold", "relay_corrupt", "relay_delay", "relay_partial", "relay_flood")
METHODS = {
    "star": (*_STAR, *_NONE),
    "relay": (*_RELAY, *_NONE),
    "relay, hostile": (*_RELAY, *_NONE),
    "full": (*_STAR, *_NONE, "--vote", "full"),
    "lazy": (*_STAR, *_NONE, "--copies", "lazy"),
    "bf16": (*_STAR, "--compression.kind", "bf16"),
    "sign": (*_STAR, *_NONE, "--compression.kind", "sign"),
    "2 servers": (*_STAR, *_NONE, "--servers", "2"),
    "4 servers": (*_STAR, *_NONE, "--servers", "4"),
    "relay, 2 servers": (*_RELAY, *_NONE, "--servers", "2"),
    "relay, 4 servers": (*_RELAY, *_NONE, "--servers", "4"),
    "relay, 8 servers": (*_RELAY, *_NONE, "--servers", "8"),
    "relay, 4 servers, bf16": (*_RELAY, "--servers", "4", "--compression.kind", "bf16"),
}
"""Options of a run."""
COLLECTIVES = ("Bcast + Gather", "Allreduce")
FIELDS = (
    "method", "round", "step", "seconds", "cpu", "ps_in", "ps_out", "worker_in", "worker_out", "most_in", "most_out",
    "weights",
)  # fmt: skip
"""Of a row: seconds, CPU seconds of the busiest server's process; bytes on the busiest server's link, on the median
one of a worker, and on the busiest, each way; and the first digits of the weights' digest, after the last step."""


def options_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("experiments.cluster", description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *COLLECTIVES], default=[*METHODS, *COLLECTIVES])
    parser.add_argument("--rounds", type=int, default=1, help="times that each method has its turn")
    parser.add_argument("--steps", type=int, default=3, help="of a turn that are counted")
    parser.add_argument("--d", type=int, default=1_117_396, help="entries of a gradient")
    parser.add_argument("--hostile", type=int, default=5, help="relays that do wrong in `relay, hostile`")
    parser.add_argument("--hostfile", help="one rank a host, the PS first")
    parser.add_argument("-n", type=int, default=53, help="ranks; all but the servers host a worker")
    parser.add_argument("--csv", type=Path, help="where a row of each step goes")
    parser.add_argument("--options", nargs="*", default=[], help="further ones for each run, without the dashes: p=45")
    return parser.parse_args(argv)


def servers_of(method: str) -> int:
    """Servers of a method."""
    chosen = METHODS.get(method, ())
    return int(chosen[chosen.index("--servers") + 1]) if "--servers" in chosen else 1


def arguments(method: str, p: int, options: argparse.Namespace) -> list[str]:
    """The command line of a run of DETOX, behind `detox-ps train`."""
    hostile: list[str] = []
    if method == "relay, hostile":
        # Spread over all ranks; their gradients are right, for of no file all three holders are theirs.
        workers = [str(worker * p // options.hostile) for worker in range(options.hostile)]
        kinds = [HOSTILE[i % len(HOSTILE)] for i in range(options.hostile)]
        hostile = ["--fault.worker", *workers, "--fault.kind", *kinds, "--fault.first", "1", "--fault.seconds", "5"]
    more = [f"--{option}" for option in options.options]
    steps = ["--steps", str(options.steps + 1), "--eval-every", str(options.steps + 1)]
    return ["experiments/cluster.toml", "--p", str(p), *steps, *METHODS[method], *hostile, *more]


def workers_of(options: argparse.Namespace) -> int:
    """Workers of all methods, one a host."""
    return int(options.n) - max(map(servers_of, options.methods))


def check(options: argparse.Namespace) -> None:
    """Passes if each method is a run that can be started.

    Raises:
        ConfigError: one is none, of so many hosts.
    """
    for method in set(options.methods) & METHODS.keys():
        path, *fields = arguments(method, workers_of(options), options)
        read_config(path, fields)


def main() -> int:
    """Starts mpirun, and forks the ranks that it asks for from this process; returns mpirun's status."""
    options = options_of(sys.argv[1:])
    try:
        check(options)
    except ConfigError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 2
    environment.apply()
    import torch._dynamo  # noqa: F401  # half a rank's memory, if each had its own

    gc.collect()
    gc.freeze()  # a rank's collections would copy all of it
    with tempfile.TemporaryDirectory(prefix="detox-cluster-") as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/forks")
        listener.listen(options.n)
        program = [sys.executable, "-m", "experiments.forks", f"{folder}/forks"]
        line = mpirun_line(options.n, options.hostfile, program)
        settings = ["--mca", "mpi_yield_when_idle", "1", "-x", f"VECTOR_D={options.d}"]
        job = subprocess.Popen([line[0], *settings, *line[1:]])
        forks.serve(listener, lambda: job.poll() is not None, lambda: _live(options))
        return job.wait()


def _live(options: argparse.Namespace) -> None:
    """A rank's life."""
    environment.begin_start()
    from detox.wire.job import leave

    try:
        _rank(options)
    except DetoxError as error:
        print(f"cluster: {error}", file=sys.stderr)
        leave(1, orderly=False)
    leave(0, orderly=True)


def _rank(options: argparse.Namespace) -> None:
    """The life of a rank, through all methods in turn."""
    from detox.launch.environment import fix_torch
    from detox.wire.job import links, world

    fix_torch()
    everyone = world()
    p = workers_of(options)
    with tempfile.TemporaryDirectory(prefix="detox-cluster-") as folder:
        rows = []
        for turn in range(1, options.rounds + 1):
            for method in options.methods:
                run = _collective if method in COLLECTIVES else _train
                servers, steps, digest = servers_of(method), [], ""
                takes_part = everyone.rank < servers + p
                comm = everyone.Split(0 if takes_part else 1)
                if takes_part:
                    steps, digest = run(comm, method, options, f"{folder}/{turn}")
                links.begin_anew()  # collectives bring what no Transport takes
                _await_all(everyone)
                for step, (before, after) in enumerate(pairwise(steps), 1):
                    row = row_of(before, after, servers, p)
                    rows.append(dict(zip(FIELDS, (method, turn, step, *row, digest), strict=True)))
                    print(",".join(map(str, rows[-1].values())), flush=True)
        if everyone.rank == PS and options.csv is not None:
            with options.csv.open("w") as file:
                writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)


def row_of(before: Any, after: Any, servers: int, p: int) -> tuple[str | int, ...]:
    """What a step of so many servers and workers took: seconds, CPU seconds, bytes."""
    links = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before.links, after.links, strict=True)]
    busiest = map(max, zip(*links[:servers], strict=True))
    workers = list(zip(*links[servers : servers + p], strict=True))
    cpu = max(b - a for a, b in zip(before.cpu, after.cpu, strict=True))
    seconds = (f"{after.seconds - before.seconds:.3f}", f"{cpu:.3f}")
    return (*seconds, *busiest, *(int(of(way)) for of in (median, max) for way in workers))


def _await_all(comm: Any) -> None:
    """A barrier at which nobody is busy: hosts without a part wait there."""
    barrier = comm.Ibarrier()
    while not barrier.Test():
        time.sleep(0.02)


def _train(comm: Any, method: str, options: argparse.Namespace, folder: str) -> tuple[list[Any], str]:
    """A run of DETOX; at the PS a reading after each step, and the weights' digest.

    Raises:
        JobError: it did not end well.
    """
    from detox.launch.work import work
    from detox.wire import Session
    from detox.wire.job import abort
    from detox.wire.transport import Reach, Transport
    from experiments import meter

    own, near, processes = comm.Dup(), comm.Dup(), comm.allgather(os.getpid())
    if comm.rank != PS:
        work(Session(Transport(own, [PS])), comm.rank, abort, Reach(near))
        return [], ""
    from detox.launch.serve import serve
    from detox.ps.folder import RunFolder

    meter.readings.clear()
    meter.servers[:] = processes[1 : servers_of(method)]
    argv = [*arguments(method, comm.size - servers_of(method), options), "--output", f"{folder}/{method}"]
    status, orderly = serve(Session(Transport(own, range(1, comm.size))), [*argv, "--progress", "none"])
    if status or not orderly:
        raise JobError(f"{method}: status {status}, {'' if orderly else 'not '}all ranks have left in order")
    (done,) = Path(folder, method).glob("*/done")
    return meter.readings[: options.steps + 1], RunFolder(done.parent).summary()["weights_digest"][:8]


def _collective(comm: Any, method: str, options: argparse.Namespace, _: str) -> tuple[list[Any], str]:
    """Steps of MPI's own; at the PS a reading after each."""
    from experiments import meter

    vector = np.ones(options.d, np.float32)
    into = np.empty((comm.size, options.d), np.float32) if comm.rank == PS else None
    act: Callable[[], object]
    if method == "Allreduce":
        total = np.empty_like(vector)
        act = lambda: comm.Allreduce(vector, total)  # noqa: E731
    else:
        act = lambda: (comm.Bcast(vector, PS), comm.Gather(vector, into, PS))  # noqa: E731
    meter.servers.clear()
    readings = []
    for step in range(options.steps + 2):
        comm.Barrier()
        if comm.rank == PS and step:
            readings.append(meter.read())
        if step <= options.steps:
            act()
    return readings, ""


if __name__ == "__main__":
    sys.exit(main())
