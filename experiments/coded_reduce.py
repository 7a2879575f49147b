"""CodedReduce's tree of ranks over MPI: the model goes down, sums come up; seconds per step with stragglers.

python -m experiments.coded_reduce [--slow 0.1] [--hostfile HOSTS]

N children of the PS, in one layer, are the others that it is compared with: s = 0 is the plain mean; without digests it
is gradient coding by repetition; with them and s = r - 1 it is DETOX's vote in groups of r, with the mean of votes.

The task is a least-squares fit to points drawn from a seed. Computing is paced by a clock, for few cores cannot
compute for many hosts at once: a point takes `--point` seconds, and a slow rank takes `--delay` seconds more.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.measure import machine
from detox.assignment.seeds import stream
from detox.errors import DetoxError, JobError
from detox.launch.mpirun import mpirun_line
from detox.wire import Session, digest_of
from experiments.coded_ranks import PS, Gradient, Node, Root
from experiments.coded_tree import Tree


def least_squares(points: Iterable[int], d: int, seed: int = 0) -> Gradient:
    """The gradient of half the squared error, of points with normal entries whose targets a common model gives."""
    points = list(points)
    x = np.stack([stream(seed, "point", point).standard_normal(d, np.float32) for point in points])
    y = x @ stream(seed, "model").standard_normal(d, np.float32) / np.float32(d**0.5)

    def gradient(weights: np.ndarray) -> np.ndarray:
        return (x @ weights / np.float32(d**0.5) - y) @ x / np.float32(d**0.5)

    return gradient


def reversed_sum(answer: np.ndarray) -> np.ndarray:
    """What a Byzantine rank answers: -100 times what is right."""
    return np.float32(-100) * answer


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        name: for the table.
        tree: the ranks.
        digests: whether sums are claimed first.
        slow: share of the ranks that are slow in a step, others in each.
        byzantine: ranks that answer -100 times their sum.
    """

    name: str
    tree: Tree
    digests: bool
    slow: float = 0.0
    byzantine: tuple[int, ...] = ()


def cases(slow: float) -> Iterator[Case]:
    """42 workers, with all ranks equally fast, and with a share of them slow; then three that are Byzantine."""
    star, layers = Tree(42, 1, 2), Tree(6, 2, 2)
    for share in (0.0, slow):
        yield Case("plain mean", Tree(42, 1, 0), digests=False, slow=share)
        yield Case("gradient coding, s = 13", Tree(42, 1, 13), digests=False, slow=share)
        yield Case("DETOX's votes, r = 3", star, digests=True, slow=share)
        yield Case("CodedReduce, s = 2", layers, digests=False, slow=share)
        yield Case("CodedReduce, digests, r = 3", layers, digests=True, slow=share)
    yield Case("DETOX's votes, r = 3", star, digests=True, byzantine=(1, 4, 7))
    yield Case("CodedReduce, s = 2", layers, digests=False, byzantine=(1, 4, 7))
    yield Case("CodedReduce, digests, r = 3", layers, digests=True, byzantine=(1, 4, 7))


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("experiments.coded_reduce", description=__doc__.splitlines()[0])
    parser.add_argument("--slow", type=float, default=0.1, help="share of the ranks that are slow in a step")
    parser.add_argument("--delay", type=float, default=5.0, help="seconds that a slow rank takes longer for a step")
    parser.add_argument("--d", type=int, default=250_000, help="entries of a gradient")
    parser.add_argument("--points", type=int, default=84, help="of the data")
    parser.add_argument("--point", type=float, default=0.02, help="seconds that a point takes")
    parser.add_argument("--steps", type=int, default=8, help="the first one is not counted")
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds of a step")
    parser.add_argument("--hostfile", help="one rank per host, the PS first; unset: all ranks here")
    return parser.parse_args(argv)


def _live(session: Session, rank: int, case: Case, options: argparse.Namespace) -> bool:
    """The life of a rank below the PS in one case; whether it ended in order."""
    tree, own = case.tree, case.tree.own(rank, options.points)

    def seconds(step: int) -> float:
        drawn = 1 + stream(0, "slow", step).permutation(tree.workers)
        return len(own) * options.point + options.delay * (rank in drawn[: round(case.slow * tree.workers)])

    lie = reversed_sum if rank in case.byzantine else None
    node = Node(session, tree, rank, options.d, least_squares(own, options.d), case.digests, seconds, lie)
    return session.wait(lambda: node.over, node.take, silence=2 * options.deadline, then=node.work)


def _time(session: Session, case: Case, options: argparse.Namespace) -> str:
    """A row of the table.

    Raises:
        JobError: a step had no sum.
    """
    root = Root(session, case.tree, options.d, case.digests, options.deadline)
    weights, ends = np.zeros(options.d, np.float32), [time.monotonic()]
    for step in range(1, options.steps + 1):
        weights = weights - np.float32(1 / options.points) * root.step(step, weights)
        ends.append(time.monotonic())
    root.dismiss()
    steps = [end - start for start, end in pairwise(ends[1:])]
    gradients = session.bytes_received / options.steps / (4 * options.d)
    return (
        f"| {case.name} | {case.slow:.0%} | {len(case.byzantine)} | {float(case.tree.load):.3f} | "
        f"{statistics.median(steps):.2f} | {max(steps):.2f} | {gradients:.1f} | {digest_of(weights).hex()[:8]} |"
    )


def _rank(options: argparse.Namespace) -> None:
    """The life of a rank, through all cases."""
    from detox.wire.job import leave, world
    from detox.wire.transport import Transport

    comm = world()
    if comm.rank == PS:
        print(f"{machine()}\n\n| method | slow | Byzantine | load | seconds: median | most | gradients | weights |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
    for case in cases(options.slow):
        tree, rank = case.tree, comm.rank
        peers = [*([tree.parent(rank)] if rank else []), *(child for block in tree.blocks(rank) for child in block)]
        session = Session(Transport(comm.Dup(), peers), poll=0.003)  # 43 ranks that look more often fill two cores
        if rank == PS:
            try:
                print(_time(session, case, options), flush=True)
            except JobError as error:
                print(f"coded_reduce: {case.name}: {error}", file=sys.stderr)
                leave(1, orderly=False)
        elif not _live(session, rank, case, options):
            leave(1, orderly=False)
    leave(0, orderly=True)


def main() -> None:
    """A rank's life where mpirun has started it; else starts mpirun."""
    options = _options(sys.argv[1:])
    try:
        for case in cases(options.slow):
            case.tree.own(1, options.points)
        if "OMPI_COMM_WORLD_RANK" in os.environ:
            _rank(options)
        else:
            program = [sys.executable, "-m", "experiments.coded_reduce", *sys.argv[1:]]
            line = mpirun_line(1 + case.tree.workers, options.hostfile, program)
            os.execv(line[0], line)
    except DetoxError as error:
        sys.exit(f"coded_reduce: {error}")


if __name__ == "__main__":
    main()
