"""The weights of a step: which ranks get them whole, and which pass on slices; and who says that one did not come."""

from collections.abc import Sequence, Set

import numpy as np

from detox.ps.events import Event, EventKind
from detox.ps.outgoing import Outgoing
from detox.ps.relays import Relays
from detox.ps.servers import Servers
from detox.wire import Kind, Message, Session
from detox.wire.slices import Routes

PS = 0
MISSING_LIMIT = 1  # bytes: whether the slice came, and was wrong


class Broadcast:
    """Sends weights, and sends a slice again to whom it did not come, once to each.

    Args:
        session: the conversation with the workers' ranks.
        ranks: rank of each worker.
        relays: which ranks pass slices on; None: each gets the whole weights.
        size: entries of the weights.
        servers: the further servers, which do likewise with their shares; None: there are none.
    """

    def __init__(
        self,
        session: Session,
        ranks: Sequence[int],
        relays: Relays | None,
        size: int,
        servers: Servers | None = None,
    ) -> None:
        self.limits = {} if relays is None else {Kind.MISSING: MISSING_LIMIT}
        self._ranks = ranks
        self._relays = relays
        self._servers = servers
        self._outgoing = Outgoing(session, PS, [size] if servers is None else servers.widths)
        self._step = 0
        self._routes = Routes()
        self._answered: set[tuple[int, int]] = set()

    def send(self, step: int, ready: Set[int], out: Set[int], weights: np.ndarray) -> None:
        """Starts sending a step's weights.

        Args:
            step: the step.
            ready: ranks that get them.
            out: ranks that pass nothing on.
            weights: (d + b,) float32, with further servers the PS's share of them; they may change after.
        """
        self._step = step
        self._answered.clear()
        whole = Routes(whole=tuple(sorted(ready)))
        self._routes = whole if self._relays is None else self._relays.choose(step, ready, out)
        if self._servers is not None:
            self._servers.send_weights(step, self._routes)
        self._outgoing.send(step, self._routes, weights)

    def answer(self, message: Message) -> list[Event]:
        """Answers MISSING: sends the slice, and says who complains of whom."""
        assert message.header is not None
        assert self._relays is not None
        rank, step, index = message.source, message.header.step, message.header.file
        if step < self._step:
            return []  # newer weights are on their way
        if step > self._step or rank not in self._routes.sliced or index >= len(self._routes.relays):
            return [Event(EventKind.MALFORMED, self._step, None, detail=f"there is no slice {index}", rank=rank)]
        if (other := self._routes.relays[index]) == rank:
            return [Event(EventKind.MALFORMED, self._step, None, detail="asked for its own slice", rank=rank)]
        if (rank, index) in self._answered:
            detail = f"asked for slice {index} twice"
            return [Event(EventKind.MALFORMED, self._step, None, detail=detail, rank=rank)]
        self._answered.add((rank, index))
        if (server := self._outgoing.owner(index)) == PS:
            self._outgoing.send_again(rank, index)
        else:
            assert self._servers is not None
            self._servers.send_again(server, rank, index)
        self._relays.complain(step, rank, other)
        of = tuple(worker for worker, at in enumerate(self._ranks) if at == other)
        did = "was wrong" if bytes(message.payload) == b"\1" else "did not come"
        detail = f"says that the slice of rank {other} {did}"
        return [Event(EventKind.COMPLAINED, step, None, detail=detail, rank=rank, others=of)]
