"""Faults of a rank that is to pass on its slice of the weights; see detox.worker.relay for one that does."""

from collections.abc import Iterable, Iterator

from detox.assignment.seeds import stream
from detox.wire import Channel, Header, Kind, Message, Session
from detox.worker.around import Around
from detox.worker.corruption import Times

PS = 0
_FLOOD = 50  # slices in place of one

RELAYS = {
    "relay_withhold": "The rank passes no slice of the weights on.",
    "relay_corrupt": "The rank passes its slice on with a bit flipped.",
    "relay_delay": "The rank passes its slice on `seconds` later.",
    "relay_partial": "The rank passes its slice on to half of the others.",
    "relay_flood": "The rank passes its slice on, and 50 more, of this step and steps to come.",
    "relay_complain": "The rank passes its slice on, and says that no other's came.",
}


class RelayFaults(Around):
    """The channel to the other workers' ranks of one that is faulty.

    Args:
        transport: the channel that carries the messages.
        session: the conversation with the PS.
        kinds: the fault of each faulty worker of this rank, by its name in RELAYS.
        times: when they show.
        seed: of when, where that is random.
        seconds: how long relay_delay waits.
    """

    def __init__(
        self, transport: Channel, session: Session, kinds: dict[int, str], *, times: Times, seed: int, seconds: float
    ) -> None:
        super().__init__(transport)
        self._session = session
        self._kinds = kinds
        self._times = times
        self._seed = seed
        self._seconds = seconds
        self._held: list[tuple[float, list[int], Header, bytes]] = []

    def receive(self) -> Iterator[Message]:
        """What has arrived; first, slices that were held back go out when it is time."""
        due = [entry for entry in self._held if entry[0] <= self._session.clock()]
        self._held = [entry for entry in self._held if entry not in due]
        for _, peers, header, payload in due:
            self._transport.send(peers, header, payload)
        return self._transport.receive()

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Sends a slice, or what the faults make of it."""
        peers, content, step = list(peers), bytes(payload), header.step
        shown = {k for w, k in self._kinds.items() if self._times.due(step, stream(self._seed, "relay", w, step))}
        if "relay_complain" in shown:
            for index in range(len(self.peers) + 1):
                if index != header.file:
                    self._session.send([PS], Header(Kind.MISSING, step, file=index), b"\0")
        if "relay_corrupt" in shown and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if "relay_partial" in shown:
            peers = peers[::2]
        if "relay_delay" in shown:
            self._held.append((self._session.clock() + self._seconds, peers, header, content))
        elif "relay_withhold" not in shown:
            self._transport.send(peers, header, content)
        for later in range(_FLOOD * ("relay_flood" in shown)):
            self._transport.send(peers, Header(Kind.SLICE, step + later, file=header.file), content)
