"""A rank's loop: the workers that it hosts compute gradients, claim them, and send those that are asked for."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detox.aggregators import Share
from detox.errors import JobError
from detox.tasks import FlatModel, Task
from detox.wire import PROBE, Codec, Computed, Header, Kind, Message, Pulse, Session, Work
from detox.wire.evidence import Evidence, Question
from detox.worker.adversary import Adversary
from detox.worker.gradients import Gradients, Wanted
from detox.worker.memory import available_memory
from detox.worker.momentum import Momentum
from detox.worker.relay import Relay
from detox.worker.servers import Servers

PS = 0  # the rank of the parameter server
ECHO_LIMIT = 2**22  # bytes


class WorkerRank:
    """The workers of one rank.

    Each worker computes for itself, in the order of ids, and answers FETCH between two computations. A rank that
    is late drops all but the newest two steps.

    Args:
        session: the conversation with the PS.
        task: data and loss.
        model: the flat model to compute with; d parameters and b buffers.
        codec: how gradients travel, vectors of d + b entries.
        adversary: what Byzantine workers do; None where all are honest.
        momentum: of the workers' gradients; None: each step's gradient as it is.
        corrupt: what becomes of a worker's vector, (d + b,) float32, before it is claimed; None: nothing.
        share_compute: compute a file once for all workers of this rank that hold it.
        silence: seconds without a word from the PS until this rank leaves.
        relay: brings weights that come as slices; None: they come whole.
        servers: who gets which share of a gradient; None: the PS, all.

    Attributes:
        last: the message that ended its work, QUIT or START; None as long as there is none.
    """

    def __init__(
        self,
        session: Session,
        task: Task,
        model: FlatModel,
        codec: Codec,
        adversary: Adversary | None,
        *,
        momentum: Momentum | None = None,
        corrupt: Callable[[Header, np.ndarray], np.ndarray] | None = None,
        share_compute: bool,
        silence: float,
        relay: Relay | None = None,
        servers: Servers | None = None,
    ) -> None:
        self._session = session
        self._task = task
        self._model = model
        self._codec = codec
        size = model.d + model.b
        self._servers = servers or Servers(session, None, [Share(0, size, model.d)], [codec])
        self._adversary = adversary
        self._poisoned = task if adversary is None else adversary.poison(task)
        self._momentum = momentum
        self._corrupt = corrupt
        self._share_compute = share_compute
        self._silence = silence
        self._relay = relay
        self._over = False
        self.last: Message | None = None
        self._queue: deque[tuple[Header, Work]] = deque()
        self._weights: dict[int, np.ndarray] = {}
        self._loaded: int | None = None
        self._began = 0.0  # when the first file of that step
        self._claimed: dict[int, tuple[int, dict[int, np.ndarray]]] = {}
        self._gradients = Gradients(model, task, self._poisoned, session.clock)

    def serve(self) -> bool:
        """Works until the PS says QUIT or START (True), or is dead or silent for too long (False)."""

        def over() -> bool:
            return self._over or PS in self._session.dead

        self._session.wait(over, self._take, silence=self._silence, then=self._work)
        return self._over

    def turn(self) -> bool:
        """Takes what has come, and computes one file at most; whether there was anything to do."""
        came = self._session.turn(self._take)
        return self._work() or came

    def _work(self) -> bool:
        """Passes weights on, computes the next file, and sends what the adversary has decided on."""
        came = self._relay is not None and self._relay.turn()
        came |= self._servers.turn(self._take)
        self._fetch_weights()
        next_ = None if self._over else self._next()
        if next_ is not None:
            self._compute(*next_)
        answers = [] if self._adversary is None else list(self._adversary.answers())
        for (header, work), vector in answers:
            self._submit(header, work, vector)
        return came or next_ is not None or bool(answers)

    def _take(self, message: Message) -> None:
        header = message.header
        if header is None:
            return
        if header.kind in (Kind.QUIT, Kind.START):
            self._over, self.last = True, message
        elif header.kind == Kind.WEIGHTS:
            weights = self._servers.assemble(message.source, header.step, message.payload)
            if weights is not None:
                self._keep_weights(header.step, weights)
            if self._relay is not None:
                self._relay.overtaken(header.step)
        elif header.kind in (Kind.SLICES, Kind.SLICE) and self._relay is not None:
            self._relay.take(message)
        elif header.kind == Kind.WORK:
            self._queue.append((header, Work.unpack(message.payload)))
        elif header.kind == Kind.FETCH:
            self._deliver(message.source, header)
        elif header.kind == Kind.EXAMINE:
            self._explain(header, Question.unpack(message.payload))
        elif header.kind == Kind.ECHO:
            pulse = Pulse(time.time(), available_memory())
            self._session.send([PS], header, pulse.pack() + bytes(message.payload))

    def _fetch_weights(self) -> None:
        """Those that have come as slices."""
        if self._relay is not None and (whole := self._relay.pop()) is not None:
            self._keep_weights(*whole)

    def _keep_weights(self, step: int, weights: np.ndarray) -> None:
        self._weights[step] = weights
        for old in sorted(self._weights)[:-2]:
            del self._weights[old]

    def _next(self) -> tuple[Header, Work] | None:
        """The next file of the newest step whose weights are here; WORK, being short, can overtake them."""
        oldest = min(self._weights, default=0)
        self._queue = deque(item for item in self._queue if item[0].step >= oldest)
        ready = [item for item in self._queue if item[0].step in self._weights]
        if not ready or (self._relay is not None and self._relay.passing_on):
            return None
        item = max(ready, key=lambda item: item[0].step)  # the first of these
        self._queue.remove(item)
        return item

    def _compute(self, header: Header, work: Work) -> None:
        """The gradient of a file; a Byzantine worker computes it too, and hands it to the adversary."""
        began, weights = self._session.clock(), self._weights[header.step]
        if self._loaded != header.step:
            if self._servers.digest_of(header.step, weights) != work.weights_digest:
                raise JobError(f"the weights of step {header.step} arrived changed")
            self._model.load(weights)
            self._loaded, self._began = header.step, began
            self._gradients.forget()
            # Nobody asks any more for what was claimed with earlier weights.
            self._claimed = {worker: kept for worker, kept in self._claimed.items() if kept[0] >= header.step}
        coming = (self._wanted(*item) for item in self._queue if item[0].step == header.step)
        vector, seconds = self._gradients.take(self._wanted(header, work), coming)
        if self._momentum is not None and header.step != PROBE:
            vector = self._momentum.add(header.worker, vector)
        if header.step != PROBE:
            spent = Computed(seconds, self._session.clock() - self._began)
            self._session.send([PS], replace(header, kind=Kind.COMPUTED), spent.pack())
        if self._adversary is None:
            self._submit(header, work, vector)
        elif self._is_byzantine(header):
            self._adversary.take((header, work), header, vector)
        else:
            self._adversary.overhear(header, vector)
            self._submit(header, work, vector)

    def _wanted(self, header: Header, work: Work) -> Wanted:
        poisoned = self._poisoned is not self._task and self._is_byzantine(header)
        worker = -1 if self._share_compute else header.worker
        return Wanted(header.file, worker, poisoned, work.indices, work.seed)

    def _is_byzantine(self, header: Header) -> bool:
        return self._adversary is not None and self._adversary.controls(header.worker, header.step)

    def _submit(self, header: Header, work: Work, vector: np.ndarray) -> None:
        """Claims the vector, or sends it where no claim is wanted."""
        if self._corrupt is not None:
            vector = self._corrupt(header, vector)
        if header.step != PROBE:  # the self-test is about the bits of gradients
            vector = self._codec.quantise(vector)
        if work.claim:
            self._keep(header, vector)
            claim = Header(Kind.CLAIM, header.step, header.worker, header.file)
            self._session.send([PS], claim, self._servers.claim_of(header.step, vector))
        else:
            self._send_gradient(PS, header, vector)

    def _keep(self, header: Header, vector: np.ndarray) -> None:
        """Keeps what a worker has claimed in its newest step, by file."""
        step, vectors = self._claimed.get(header.worker, (header.step, {}))
        # Colluders that waited for each other may claim when the worker's next claim is already made.
        if step <= header.step:
            self._claimed[header.worker] = (
                header.step,
                {**(vectors if step == header.step else {}), header.file: vector},
            )

    def _deliver(self, server: int, fetch: Header) -> None:
        if (vector := self._claim(fetch)) is not None:
            self._send_gradient(server, fetch, vector)

    def _explain(self, header: Header, question: Question) -> None:
        if (vector := self._claim(header)) is not None:
            self._session.send([PS], replace(header, kind=Kind.EVIDENCE), Evidence.answer(vector, question).pack())

    def _claim(self, header: Header) -> np.ndarray | None:
        """What the worker has claimed for this file, if that was in its newest step."""
        step, vectors = self._claimed.get(header.worker, (None, {}))
        return vectors.get(header.file) if step == header.step else None

    def _send_gradient(self, server: int, header: Header, vector: np.ndarray) -> None:
        gradient = Header(Kind.GRADIENT, header.step, header.worker, header.file)
        self._servers.send_gradient(server, gradient, vector)
