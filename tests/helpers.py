"""What several tests need: a task without data, and workers that answer in the test's own process."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from detox.tasks import Task
from detox.wire import Codec, Header, Kind, Message, Work, digest_of
from detox.wire.evidence import Evidence, Question
from detox.wire.memory import Network
from detox.worker.rank import ECHO_LIMIT, WorkerRank


class Line(Task):
    """A model with two weights; gradients here come from the test, not from the loss."""

    train_size = 1000
    device = torch.device("cpu")

    def build_model(self):
        return nn.Linear(2, 1, bias=False)

    def loss(self, model, indices, generator):
        raise AssertionError("the workers of this test do not compute")

    def evaluate(self, model):
        return {"loss": 0.0, "accuracy": 0.0}


class Workers:
    """All workers' ranks, on a network of their own. Worker w answers with `lies[w](honest)`; never if that is None.

    Attributes:
        network: with the PS as rank 0; its clock is the test's.
        session: the PS's.
        ranks: rank of each worker.
        computing: seconds from WORK to its answer.
        delays: by worker, seconds from FETCH to its answer.
        showing: seconds from EXAMINE to its answer.
        slow: by worker, seconds that each of its answers takes longer.
        withholding: workers that claim and never deliver.
        work: all that was asked for, as (header, Work).
        computed: what the PS computed itself.
        examined: of whom it was asked how their claims differ.
        shows: what those answer in place of the truth, bytes -> bytes.
    """

    def __init__(self, ranks, codec=None, lies=None):
        self.ranks, self.codec, self.lies = ranks, codec or Codec(2, "none"), lies or {}
        self.computing, self.delays, self.showing, self.slow, self.withholding = 0, {}, 0, {}, set()
        self.work, self.truth, self.computed, self.examined = [], {}, [], []
        self.shows = lambda evidence: evidence
        self.network = Network()
        peers = sorted(set(ranks))
        self.session = self.network.session(0, peers)
        self.channels = {rank: self.network.channel(rank, [0], partial(self._hear, rank)) for rank in peers}

    def _hear(self, rank, message):
        self.hear(rank, message)

    @staticmethod
    def honest(header):
        return np.array([header.file + 1, -1], np.float32)

    def compute_files(self, files):
        """The gradients of several files."""
        return [self.compute(*file) for file in files]

    def compute(self, indices, seed):
        """What the PS gets when it computes a file itself."""
        self.computed.append(self.truth[seed])
        return self.honest(self.truth[seed])

    def vector(self, header):
        return self.lies.get(header.worker, lambda honest: honest)(self.honest(header))

    def hear(self, rank, message: Message):
        header = message.header
        if header.kind == Kind.WORK:
            assert self.ranks[header.worker] == rank
            work = Work.unpack(message.payload)
            self.work.append((header, work))
            self.truth[work.seed] = header
            vector = self.vector(header)
            if vector is not None and work.claim:
                self._answer(self.computing, rank, replace(header, kind=Kind.CLAIM), digest_of(vector))
            elif vector is not None:
                self._answer(self.computing, rank, replace(header, kind=Kind.GRADIENT), self.codec.encode(vector))
        elif header.kind == Kind.FETCH and header.worker not in self.withholding:
            payload = self.codec.encode(self.vector(header))
            self._answer(self.delays.get(header.worker, 0), rank, replace(header, kind=Kind.GRADIENT), payload)
        elif header.kind == Kind.EXAMINE:
            self.examined.append(header)
            evidence = Evidence.answer(self.vector(header), Question.unpack(message.payload)).pack()
            self._answer(self.showing, rank, replace(header, kind=Kind.EVIDENCE), self.shows(evidence))

    def _answer(self, seconds, rank, header, payload):
        seconds += self.slow.get(header.worker, 0)
        if seconds:
            self.network.later(seconds, partial(self.send, rank, header, payload))
        else:
            self.send(rank, header, payload)

    def send(self, rank, header: Header, payload=b""):
        self.channels[rank].send([0], header, payload)

    def send_frame(self, rank, tag, frame):
        self.channels[rank].send_frame([0], tag, frame)


def employ(network, rank, size, task, model, codec, adversary=None, **options):
    """A rank of workers, with `size` entries in a vector, that works whenever another rank of the network sleeps."""
    session = network.session(rank, [0])
    limits = {Kind.WEIGHTS: 4 * size, Kind.WORK: 2**22, Kind.FETCH: 0, Kind.EXAMINE: Question.limit(size)}
    session.expect({**limits, Kind.ECHO: ECHO_LIMIT, Kind.QUIT: 0})
    host = WorkerRank(session, task, model, codec, adversary, **{"share_compute": False, "silence": 60.0, **options})
    network.actors.append(host.turn)
    return host
