"""Whole jobs over TCP and TLS in one process: real sockets on loopback, and the clock of wire/memory.py, which only the
PS's sleep turns. Honest ranks are lives of their own; hostile ones have a channel that does what it likes."""

import contextlib
import ctypes
import gc
import io
import json
import os
import signal
from collections.abc import Callable, Collection, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from one_process import CONFIG, Finished, Killed, Rank

from detox.launch.attended import serve_on
from detox.launch.environment import SIGNALS
from detox.wire import Header, Kind, Session, keys
from detox.wire.dialer import Dialer
from detox.wire.keys import Keys
from detox.wire.listener import Listener
from detox.wire.memory import Network
from detox.wire.mesh import Mesh
from detox.wire.tcp import Channel

HOST = "127.0.0.1"
MB = 2**20
OFFENCES = {"dissented", "equivocated", "lied", "convicted", "proven", "withheld", "malformed", "nonfinite"}


def memory() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def give_back() -> None:
    """Returns what is free to the system: a run would take that first, and seem to grow by less."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


class Counting(Channel):
    """The PS's end, by which the network knows of steps."""

    def send(self, peers, header, payload=b""):
        if header.kind == Kind.WORK:
            self.network.step = header.step
        super().send(peers, header, payload)


class Loopback(Network):
    """Ranks that dial each other, and come and go.

    Attributes:
        step: that the PS makes.
        ranks: the honest ones by number.
        port: of the PS.
        folder: of the keys.
        ports: by rank, where it dials instead.
        hostile: by rank, the class of its channel.
        meshes: by rank, how it reaches others, where they do.
        listens: ranks that listen for each other.
        reaches: by rank, what makes the class of how it reaches others, of network and rank.
        most: bytes of memory that this process has had at most.
        ends: by rank, its channel.
        litter: what has to be closed beside them.
    """

    def __init__(self, folder: Path, hostile: dict[int, type[Channel]]) -> None:
        super().__init__()
        self.folder, self.hostile, self.fellows = folder, hostile, Network()
        self.ports: dict[int, int] = {}
        self.ends: dict[int, Channel] = {}
        self.litter: list = []
        self.meshes: dict[int, Mesh] = {}
        self.listens: Collection[int] = ()
        self.reaches: dict[int, Callable[[Loopback, int], type[Mesh]]] = {}
        self.most = self.step = 0
        self._keys: dict[int, Keys] = {}
        self.ranks: dict[int, Rank] = {}
        self.own = Keys(folder / keys.PS)
        self.listener = Listener((HOST, 0), self.own, self.clock)
        self.port = self.listener.port

    def channel(self, rank, peers, heard=None):
        if rank == 0:
            channel = Counting(self.listener, peers)
            channel.network = self
        else:
            life = os.urandom(16)
            channel = self.hostile.get(rank, Channel)(
                self.dialer(rank), [0], lambda: (Header(Kind.JOIN), life), patient=True
            )
            channel.network, channel.rank = self, rank
        self.ends[rank] = channel
        return channel

    def keys(self, rank: int) -> Keys:
        """Of a rank, read once: each time takes some 100 KB."""
        if rank not in self._keys:
            self._keys[rank] = Keys(self.folder / keys.worker_folder(rank - 1))
        return self._keys[rank]

    def dialer(self, rank: int) -> Dialer:
        return Dialer((HOST, self.ports.get(rank, self.port)), self.keys(rank), self.clock)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.most = max(self.most, memory())

    def kill(self, rank: int) -> None:
        self.ends[rank].close()

    def come(self, rank: int, n: int) -> None:
        """A process with this rank's key, the first one or another, of n ranks."""
        self.ranks[rank] = Rank(self, self.fellows, rank, n, meet=self.meet if rank in self.listens else None)

    def meet(self, session: Session) -> Mesh:
        """A rank's way to others."""
        channel, rank = session.channel, session.channel.rank
        kind = self.reaches[rank](self, rank) if rank in self.reaches else Mesh
        self.meshes[rank] = kind(session, channel, self.keys(rank), (HOST, 0), self.clock)
        return self.meshes[rank]

    def go(self, rank: int) -> None:
        """Its process is gone."""
        self.ranks[rank].kill()

    def close(self) -> None:
        for end in [*self.ends.values(), *self.litter]:
            end.close()


@dataclass(frozen=True)
class Job(Finished):
    """A job that has ended.

    Attributes:
        growth: bytes by which the PS's process grew at most.
    """

    growth: int

    @property
    def ledger(self) -> list[dict]:
        return [json.loads(line) for line in (self.run / "ledger.jsonl").read_text().splitlines()]

    @property
    def longest(self) -> float:
        """Seconds of the longest step."""
        lines = (self.run / "metrics.jsonl").read_text().splitlines()
        return max(sum(json.loads(line)["seconds"].values()) for line in lines)


def train(
    folder: Path,
    *options: str,
    p: int = 9,
    hostile: dict[int, type[Channel]] | None = None,
    absent: tuple[int, ...] = (),
    prepare: Callable[[Loopback], object] = lambda network: None,
    config: str = CONFIG,
) -> Job:
    """Serves run.toml to p ranks.

    Args:
        folder: the job's; it has `keys`.
        options: behind `run.toml`.
        p: ranks of workers and further servers.
        hostile: by rank, the class of its channel.
        absent: ranks that do not come.
        prepare: done with the network before the first word; it may add actors.
        config: of run.toml.
    """
    network, said = Loopback(folder / "keys", hostile or {}), io.StringIO()
    prepare(network)
    (folder / "run.toml").write_text(config)
    session = network.session(0, range(1, p + 1))
    ranks = network.ranks
    for rank in range(1, p + 1):
        if rank not in absent:
            network.come(rank, p + 1)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    give_back()
    before = network.most = memory()
    try:
        with chdir(folder), redirect_stdout(said), redirect_stderr(said):
            status, orderly = serve_on(network.ends[0], network.own, session, ["run.toml", *options])
            growth = network.most - before
            network.ends[0].close()
            for _ in range(300):
                if not all(rank.over for number, rank in ranks.items() if number not in network.hostile):
                    Network.sleep(network, 0.01)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with contextlib.suppress(OSError):
            for mesh in network.meshes.values():
                mesh.hang_up()
            network.close()
    errors = {n: rank.error for n, rank in ranks.items() if rank.error and not isinstance(rank.error, Killed)}
    left = [number for number, rank in ranks.items() if not rank.over and number not in network.hostile]
    assert not left, f"ranks {left} do not leave\n{said.getvalue()}"
    return Job(status, orderly, said.getvalue(), folder, errors, growth)


def survived(job: Job, baseline: Job, honest: Sequence[int], what: str) -> None:
    """The oracle: the PS and all honest ranks to the end, in bounded memory and time, to the same bits, unblamed.

    Args:
        job: with hostile ranks, and a deadline of 3 s.
        baseline: without them.
        honest: workers.
        what: the ranks did.
    """
    print(f"| {what} | {job.growth / MB:.1f} | {job.longest:.2f} |")
    assert job.status == 0, job.text
    assert not job.errors
    assert job.summary["weights_digest"] == baseline.summary["weights_digest"], job.text
    assert job.growth < 64 * MB
    assert job.longest <= 3 + 0.1
    blamed = [line for line in job.ledger if line["worker"] in honest and line["kind"] in OFFENCES]
    assert not blamed
    assert not job.summary["quarantined"].keys() & set(map(str, honest))


def session_of(network: Loopback, channel: Channel) -> Session:
    """A conversation on a channel by the network's clock."""
    return Session(channel, clock=network.clock, sleep=network.sleep)
