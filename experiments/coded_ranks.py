"""The ranks of CodedReduce's tree: each passes the model on and answers its parent with a sum; the PS is the root."""

from collections.abc import Callable

import numpy as np

from detox.errors import JobError
from detox.wire import DIGEST_BYTES, Header, Kind, Message, Session, claim_of
from experiments.coded_tree import Gather, Tree

PS = 0
Gradient = Callable[[np.ndarray], np.ndarray]
"""(d,) float32 weights -> (d,) float32, the sum of the gradients of a worker's own points."""


class Node:
    """A rank below the PS: passes the model on, computes, gathers from its children, and answers its parent.

    Args:
        session: the conversation with parent and children.
        tree: the ranks.
        rank: this one.
        d: entries of a gradient.
        gradient: of its own points.
        digests: whether sums are claimed first.
        seconds: step -> what computing takes, by the session's clock.
        lie: what it makes of its sum; None: it is honest.
    """

    def __init__(
        self, session: Session, tree: Tree, rank: int, d: int, gradient: Gradient, digests: bool,
        seconds: Callable[[int], float], lie: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:  # fmt: skip
        self.over = False
        self._session = session
        self._parent = tree.parent(rank)
        self._blocks = tree.blocks(rank)
        self._children = [child for block in self._blocks for child in block]
        self._d = d
        self._gradient = gradient
        self._digests = digests
        self._seconds = seconds
        self._lie = lie
        self._step = 0
        self._ready = 0.0
        self._own: np.ndarray | None = None  # until the step's answer is made
        self._answer: np.ndarray | None = None
        self._gather = Gather(self._blocks, d, digests)
        self._told = False  # that it is over, with those below still to leave
        self._below = set(self._children)
        limits = {Kind.WEIGHTS: 4 * d, Kind.QUIT: 0, Kind.GRADIENT: 4 * d, Kind.BYE: 0}
        if digests:
            limits |= {Kind.CLAIM: DIGEST_BYTES, Kind.FETCH: 0}
        session.expect(limits, [Kind.GRADIENT] if digests else [])

    def work(self) -> bool:
        """Answers the parent once own and children's sums are there; whether it did."""
        _ask(self._session, self._gather, self._step)
        if self._own is None or not self._gather.complete or self._session.clock() < self._ready:
            return False
        answer = self._gather.total(self._own)
        self._own, self._answer = None, answer if self._lie is None else self._lie(answer)
        if self._digests:
            self._session.send([self._parent], Header(Kind.CLAIM, self._step), claim_of(self._answer))
        else:
            self._deliver()
        return True

    def take(self, message: Message) -> None:
        """Takes a message."""
        header = message.header
        if header is None:
            return
        if message.source == self._parent:
            if header.kind == Kind.QUIT:
                self._session.send(self._children, header)
                self._told = True
                self._leave()
            elif header.kind == Kind.WEIGHTS and header.step > self._step:
                self._begin(header, message.payload)
            elif header.kind == Kind.FETCH and header.step == self._step and self._answer is not None:
                self._deliver()
        elif header.kind == Kind.BYE:
            self._below.discard(message.source)
            self._leave()
        elif header.step == self._step:
            _gathered(self._gather, message)

    def _leave(self) -> None:
        """Ends with a goodbye, which comes behind all that was sent, once all children have said theirs."""
        if self._told and not self._below:
            self._session.send([self._parent], Header(Kind.BYE))
            self.over = True

    def _begin(self, header: Header, weights: memoryview) -> None:
        """Drops what it was at, for the parent is farther on; the children have the weights before it computes."""
        self._session.send(self._children, header, weights)
        self._session.forget(self._step)
        self._step, self._answer = header.step, None
        self._ready = self._session.clock() + self._seconds(header.step)
        self._gather = Gather(self._blocks, self._d, self._digests)
        self._own = self._gradient(np.frombuffer(weights, np.float32))

    def _deliver(self) -> None:
        assert self._answer is not None
        self._session.send([self._parent], Header(Kind.GRADIENT, self._step), self._answer.data.cast("B"))


class Root:
    """The PS: sends the model down, and has the sum of all gradients from its own children.

    Args:
        session: the conversation with them.
        tree: the ranks.
        d: entries of a gradient.
        digests: whether sums are claimed first.
        deadline: seconds of a step.
    """

    def __init__(self, session: Session, tree: Tree, d: int, digests: bool, deadline: float) -> None:
        self._session = session
        self._blocks = tree.blocks(PS)
        self._d = d
        self._digests = digests
        self._deadline = deadline
        limits = {Kind.GRADIENT: 4 * d, Kind.BYE: 0} | ({Kind.CLAIM: DIGEST_BYTES} if digests else {})
        session.expect(limits, [Kind.GRADIENT] if digests else [])

    def step(self, step: int, weights: np.ndarray) -> np.ndarray:
        """(d,) float32: the sum of all gradients.

        Raises:
            JobError: it did not come in time; the message says from which children.
        """
        gather = Gather(self._blocks, self._d, self._digests)

        def take(message: Message) -> None:
            if message.header is not None and message.header.step == step:
                _gathered(gather, message)

        def asked() -> bool:
            return _ask(self._session, gather, step)

        self._session.send(self._session.peers, Header(Kind.WEIGHTS, step), weights.data.cast("B"))
        end = self._session.clock() + self._deadline
        if not self._session.wait(lambda: gather.complete, take, deadline=end, then=asked):
            raise JobError(f"step {step}, after {self._deadline:g} s: {gather.missing()}")
        self._session.forget(step)
        return gather.total(np.zeros(self._d, np.float32))

    def dismiss(self) -> None:
        """Tells all ranks that it is over, and takes what they have sent before they leave."""
        waiting = set(self._session.peers)

        def take(message: Message) -> None:
            if message.header is not None and message.header.kind == Kind.BYE:
                waiting.discard(message.source)

        self._session.send(self._session.peers, Header(Kind.QUIT))
        self._session.wait(lambda: not waiting, take, deadline=self._session.clock() + self._deadline)


def _gathered(gather: Gather, message: Message) -> None:
    """Takes a message of a child about this step: its sum, or the claim of it."""
    header = message.header
    assert header is not None
    if header.kind == Kind.CLAIM:
        gather.claim(message.source, bytes(message.payload))
    elif header.kind == Kind.GRADIENT:
        gather.take(message.source, message.payload)


def _ask(session: Session, gather: Gather, step: int) -> bool:
    """Asks children for the sums that are wanted now; whether any is."""
    wanted = gather.wanted(session.clock())
    for child in wanted:
        session.ask(child, Header(Kind.FETCH, step), Kind.GRADIENT)
    return bool(wanted)
