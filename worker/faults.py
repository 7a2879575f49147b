"""Faults on purpose: workers that break down, send what no protocol allows, or compute wrongly, for tests and drills.

An attack is a wrong gradient in proper messages (detox.worker.attacks); a fault is all else that can go wrong between
a worker and the PS (here; a whole rank's in detox.worker.breakdowns) or between ranks (detox.worker.relay_faults), and
silent corruption (detox.worker.corruption).
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from detox.assignment.seeds import stream
from detox.wire import Channel, Codec, Header, Kind, Message
from detox.worker.around import Around
from detox.worker.breakdowns import BREAKDOWNS, break_down
from detox.worker.corruption import CORRUPTIONS, Times
from detox.worker.relay_faults import RELAYS

_BIG = 2**20  # bytes of each message of a flood, and of what is too long

MESSAGES = {
    "silent": "The worker sends nothing.",
    "late": "The worker's answers go out `seconds` later.",
    "magic": "A header that does not begin as the protocol's.",
    "version": "A header of another version of the protocol.",
    "checksum": "A header whose checksum is wrong.",
    "length": "A header that says a byte more than there is.",
    "step": "An answer for a step 1000 ahead.",
    "rank": "An answer in the name of another rank's worker.",
    "file": "An answer about a file that is not the worker's.",
    "kind": "A message of a kind that only the PS sends.",
    "garbage": "Random bytes.",
    "truncated": "A message without its last byte.",
    "overlong": "A message with a MiB behind it.",
    "duplicate": "Every answer twice.",
    "equivocate": "Two claims for one file.",
    "lie": "A gradient that is not the one claimed.",
    "withhold": "A claim, and no gradient.",
    "tarry": "A claim, and its gradient `seconds` later.",
    "bomb": "A gradient that says it is 2 GiB when decompressed.",
    "flood_small": "Empty messages without end, for `seconds`.",
    "flood_large": "Messages of a MiB without end, for `seconds`.",
}
_SILENT = {name: corruption.__doc__ or "" for name, corruption in CORRUPTIONS.items()}
FAULTS = {**BREAKDOWNS, **MESSAGES, **RELAYS, **_SILENT}
if TYPE_CHECKING:
    FaultKind = str
else:
    FaultKind = Literal[tuple(FAULTS)]


class Faults(Around):
    """The transport of a rank some of whose workers break down or send faulty messages; all else passes unchanged.

    Args:
        transport: the channel that carries the messages.
        codecs: how gradients travel to each of the peers, by its number.
        kinds: the fault of each faulty worker of this rank, by its name in BREAKDOWNS or MESSAGES.
        others: a worker of another rank, to speak for.
        times: when they show.
        seed: of when, where that is random.
        seconds: how long stop, straggle, late, tarry and the floods last.
        abort: ends this rank the way that MPI has for it.
    """

    def __init__(
        self,
        transport: Channel,
        codecs: Sequence[Codec],
        kinds: dict[int, FaultKind],
        *,
        others: int,
        times: Times,
        seed: int,
        seconds: float,
        abort: Callable[[], None],
    ) -> None:
        super().__init__(transport)
        self._codecs = codecs
        self._kinds = kinds
        self._others = others
        self._times = times
        self._seed = seed
        self._seconds = seconds
        self._abort = abort
        self._held: list[tuple[float, list[int], Header, bytes]] = []

    def fault(self, worker: int, step: int) -> FaultKind | None:
        """The worker's fault in this step."""
        kind = self._kinds.get(worker)
        if kind is None or not self._times.due(step, stream(self._seed, "faulty message", worker, step)):
            return None
        return kind

    def receive(self) -> Iterator[Message]:
        """What has arrived; first, answers that were held back go out when it is time."""
        due = [entry for entry in self._held if entry[0] <= time.monotonic()]
        self._held = [entry for entry in self._held if entry not in due]
        for _, peers, header, payload in due:
            self._transport.send(peers, header, payload)
        return self._transport.receive()

    def send(self, peers: Iterable[int], header: Header, payload: bytes | memoryview = b"") -> None:
        """Sends a message, or what the fault of its worker makes of it."""
        answers = header.kind in (Kind.CLAIM, Kind.GRADIENT, Kind.EVIDENCE)
        kind = self.fault(header.worker, header.step) if answers else None
        if kind is None:
            self._transport.send(peers, header, payload)
        elif kind in BREAKDOWNS:
            break_down(kind, self._seconds, self._abort)
            self._transport.send(peers, header, payload)
        else:
            self._mangle(kind, list(peers), header, bytes(payload))

    def _mangle(self, kind: FaultKind, peers: list[int], header: Header, payload: bytes) -> None:
        claims, codec = header.kind == Kind.CLAIM, self._codecs[peers[0]]
        if kind == "silent" or (kind == "withhold" and not claims):
            return
        if kind == "late" or (kind == "tarry" and not claims):
            self._held.append((time.monotonic() + self._seconds, peers, header, payload))
        elif kind == "step":
            self._transport.send(peers, replace(header, step=header.step + 1000), payload)
        elif kind == "rank":
            self._transport.send(peers, replace(header, worker=self._others), payload)
        elif kind == "file":
            self._transport.send(peers, replace(header, file=header.file + 1), payload)
        elif kind == "kind":
            self._transport.send(peers, replace(header, kind=Kind.QUIT), payload)
        elif kind == "duplicate":
            self._transport.send(peers, header, payload)
            self._transport.send(peers, header, payload)
        elif kind == "equivocate" and claims:
            self._transport.send(peers, header, payload)
            self._transport.send(peers, header, payload[::-1])
        elif kind == "lie" and not claims:
            self._transport.send(peers, header, codec.encode(np.ones(codec.size, np.float32), header.chunk))
        elif kind == "bomb" and not claims:
            # Bytes 4 to 8 of a blosc buffer say how long it is when it is decompressed.
            self._transport.send(peers, header, payload[:4] + (2**31 - 17).to_bytes(4, "little") + payload[8:])
        elif kind in ("flood_small", "flood_large"):
            self._flood(peers, b"" if kind == "flood_small" else bytes(_BIG))
            self._transport.send(peers, header, payload)
        elif kind in ("magic", "version", "checksum", "length", "garbage", "truncated", "overlong"):
            self._transport.send_frame(peers, header.kind, np.frombuffer(_broken(kind, header, payload), np.uint8))
        else:
            self._transport.send(peers, header, payload)

    def _flood(self, peers: list[int], content: bytes) -> None:
        end = time.monotonic() + self._seconds
        frame = np.frombuffer(content, np.uint8)
        while time.monotonic() < end:
            if self._transport.sending(peers[0]) < 100:
                for _ in range(100):
                    self._transport.send_frame(peers, Kind.CLAIM, frame)


def _broken(kind: FaultKind, header: Header, payload: bytes) -> bytes:
    """The bytes of a message with one thing wrong."""
    frame = bytearray(header.pack(len(payload)) + payload)
    if kind == "magic":
        frame[:3] = b"MPI"
    elif kind == "version":
        frame[3] += 1
    elif kind == "checksum":
        frame[31] ^= 1
    elif kind == "length":
        frame = bytearray(header.pack(len(payload) + 1) + payload)
    elif kind == "garbage":
        frame[:] = os.urandom(len(frame))
    elif kind == "truncated":
        del frame[-1]
    else:
        frame += bytes(_BIG)
    return bytes(frame)
