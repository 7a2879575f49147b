"""The weights of a step on their way to the ranks: whole to each, or as slices that ranks pass on."""

from collections.abc import Sequence, Set

import numpy as np

from detox.ps.events import Event, EventKind
from detox.ps.relays import Relays
from detox.wire import Header, Kind, Message, Session
from detox.wire.relay import Slices, cut

MISSING_LIMIT = 1  # bytes: whether the slice came, and was wrong


class Broadcast:
    """Sends weights, and sends a slice again to whom it did not come, once to each.

    Args:
        session: the conversation with the workers' ranks.
        ranks: rank of each worker.
        relays: which ranks pass slices on; None: each gets the whole weights.
    """

    def __init__(self, session: Session, ranks: Sequence[int], relays: Relays | None) -> None:
        self.limits = {} if relays is None else {Kind.MISSING: MISSING_LIMIT}
        self._session = session
        self._ranks = ranks
        self._relays = relays
        self._step = 0
        self._cut_for: tuple[int, ...] = ()
        self._frames: list[np.ndarray] = []  # the message of each slice
        self._answered: set[tuple[int, int]] = set()

    def send(self, step: int, ready: Set[int], out: Set[int], weights: np.ndarray) -> None:
        """Starts sending a step's weights.

        Args:
            step: the step.
            ready: ranks that get them.
            out: ranks that pass nothing on.
            weights: (d + b,) float32; they may change after.
        """
        self._step, self._frames = step, []
        self._answered.clear()
        self._cut_for = () if self._relays is None else self._relays.choose(step, ready, out)
        if self._cut_for:
            # All are told first, so that nobody gets a slice of which it does not know yet that it is due.
            self._session.send(self._cut_for, Header(Kind.SLICES, step), Slices.of(weights, self._cut_for).pack())
        for index, rank in enumerate(self._cut_for):
            part = weights[cut(weights.size, len(self._cut_for), index)]
            self._frames.append(Header(Kind.SLICE, step, file=index).frame(part.data.cast("B")))
            self._session.send_frame([rank], Kind.SLICE, self._frames[index])
        whole = sorted(ready - set(self._cut_for))
        if whole:  # behind the slices, for which all others wait
            self._session.send(whole, Header(Kind.WEIGHTS, step), weights.data.cast("B"))

    def answer(self, message: Message) -> list[Event]:
        """Answers MISSING: sends the slice, and says who complains of whom."""
        assert message.header is not None
        assert self._relays is not None
        rank, step, index = message.source, message.header.step, message.header.file
        if step < self._step:
            return []  # newer weights are on their way
        if step > self._step or rank not in self._cut_for or index >= len(self._frames):
            return [Event(EventKind.MALFORMED, self._step, None, detail=f"there is no slice {index}", rank=rank)]
        if (rank, index) in self._answered:
            detail = f"asked for slice {index} twice"
            return [Event(EventKind.MALFORMED, self._step, None, detail=detail, rank=rank)]
        self._answered.add((rank, index))
        self._session.send_frame([rank], Kind.SLICE, self._frames[index])
        other = self._cut_for[index]
        self._relays.complain(step, rank, other)
        of = tuple(worker for worker, at in enumerate(self._ranks) if at == other)
        did = "was wrong" if bytes(message.payload) == b"\1" else "did not come"
        detail = f"says that the slice of rank {other} {did}"
        return [Event(EventKind.COMPLAINED, step, None, detail=detail, rank=rank, others=of)]
