"""Whole jobs in pytest's process: the lives of PS and ranks are real, and so is every message, but there is no MPI."""

import io
import json
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from threading import Semaphore, Thread

from detox.launch.environment import SIGNALS
from detox.launch.serve import serve
from detox.launch.work import Reach, work
from detox.wire import Session
from detox.wire.memory import Network

PS = 0

CONFIG = """
task = "digits"
model = "softmax"
p = 9
q = 2
r = 3
batch_size = 16
steps = 20
groups = "random"
log_every = 10
eval_every = 20

[aggregator]
name = "median"

[optimizer]
momentum = 0.9
"""


def _abort() -> None:
    raise RuntimeError("MPI_Abort")


class Killed(BaseException):
    """A rank's process is gone."""


class Rank:
    """A rank of workers with a thread of its own, which runs only while the PS sleeps, until it sleeps itself.

    Args:
        network: of the PS and all ranks.
        fellows, neighbours: of the ranks without it; None: they do not reach each other.
        rank, n: of how many.
        meet: makes its way to other ranks instead.

    Attributes:
        over: whether its life is over.
        error: what ended it; None where it left in order.
    """

    def __init__(
        self,
        network: Network,
        fellows: Network,
        rank: int,
        n: int,
        neighbours: Network | None = None,
        meet: Callable[[Session], Reach] | None = None,
    ) -> None:
        self.over = False
        self.error: BaseException | None = None
        self._killed = False
        self._network = network
        self._go, self._back = Semaphore(0), Semaphore(0)
        session = self._session(network, rank, [PS])

        self._first = 1
        place = self

        class Memory:
            def among(self, first: int) -> Session:
                place._first = first
                return place._session(fellows, rank - first, set(range(n - first)) - {rank - first})

            def near(self, peers: Iterable[int]) -> Session:
                return place._session(neighbours, rank, peers)

            def hang_up(self) -> None:
                pass

        def live() -> None:
            self._go.acquire()
            reach = meet(session) if meet else Memory() if neighbours else None
            try:
                work(session, rank, _abort, reach)
            except BaseException as error:
                self.error = error
                network.kill(rank)
                fellows.kill(rank - self._first)
                if neighbours is not None:
                    neighbours.kill(rank)
                if meet is not None:
                    reach.hang_up()
            self.over = True
            self._back.release()

        Thread(target=live, daemon=True).start()
        network.later(0, self._resume)

    def _session(self, network: Network, rank: int, peers: Iterable[int]) -> Session:
        return Session(network.channel(rank, peers), clock=self._network.clock, sleep=self._sleep)

    def kill(self) -> None:
        """Ends it where it is; while another rank sleeps."""
        self._killed = True
        self._resume()

    def _resume(self) -> None:
        if not self.over:
            self._go.release()
            self._back.acquire()

    def _sleep(self, seconds: float) -> None:
        self._network.later(seconds, self._resume)
        self._back.release()
        self._go.acquire()
        if self._killed:
            raise Killed


@dataclass(frozen=True)
class Finished:
    """A job that has ended.

    Attributes:
        status: the PS's exit status.
        orderly: whether every rank has said goodbye.
        text: what the PS has printed.
        folder: where it ran.
        errors: of ranks, what ended them.
    """

    status: int
    orderly: bool
    text: str
    folder: Path
    errors: dict[int, BaseException]

    @property
    def run(self) -> Path:
        """The run's folder."""
        (path,) = self.folder.glob("runs/*")
        return path

    @property
    def summary(self) -> dict:
        return json.loads((self.run / "summary.json").read_text())


class Jobs:
    """Runs run.toml in one process; each job in a new folder, unless it is to go on in another's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def start(
        self, *options: str, n: int = 3, files: Iterable[Path] = (), folder: Path | None = None, **more
    ) -> Finished:
        """A job of n ranks on run.toml; see `train`.

        Args:
            options: behind `run.toml`.
            n: ranks, the PS included.
            files: copied into the job's folder.
            folder: of an earlier job, with its run.toml.
            more: for `train`.
        """
        if folder is None:
            folder = self._folder / f"here{self._count}"
            self._count += 1
            folder.mkdir()
            (folder / "run.toml").write_text(CONFIG)
        for file in files:
            copy(file, folder)
        return self.train(["run.toml", *options], folder, n, **more)

    @staticmethod
    def train(
        argv: list[str],
        folder: Path,
        n: int,
        life: Callable[[Session, list[str]], tuple[int, bool]] = serve,
        after: float | None = None,
    ) -> Finished:
        """`detox-ps train`, on n ranks; it is over when this returns.

        Args:
            argv: of the command.
            folder: the current one.
            n: ranks, the PS included.
            life: of the PS.
            after: seconds by the network's clock after which the PS is told to end.
        """
        network, fellows, neighbours, said = Network(), Network(), Network(), io.StringIO()
        session = network.session(PS, range(1, n))
        ranks = {rank: Rank(network, fellows, rank, n, neighbours) for rank in range(1, n)}
        if after is not None:
            network.later(after, lambda: signal.raise_signal(signal.SIGUSR1))
        modules, path = set(sys.modules), list(sys.path)
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            with chdir(folder), redirect_stdout(said), redirect_stderr(said):
                status, orderly = life(session, argv)
                while not all(rank.over for rank in ranks.values()):
                    assert network.now < 1000, f"a rank does not leave\n{said.getvalue()}"
                    network.sleep(1)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            sys.path[:] = path
            for name in set(sys.modules) - modules:  # another job may have another task of the same name
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                    del sys.modules[name]
        errors = {number: rank.error for number, rank in ranks.items() if rank.error is not None}
        return Finished(status, orderly, said.getvalue(), folder, errors)

    def run(self, *options: str, n: int = 3, files: Iterable[Path] = ()) -> dict:
        """The summary of a run that has to succeed."""
        job = self.start(*options, n=n, files=files)
        assert job.status == 0, job.text
        assert job.orderly
        assert not job.errors
        return job.summary
