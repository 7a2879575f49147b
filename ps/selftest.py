"""The self-test at the start: every rank computes the same probe gradient, and the bits have to be equal."""

import time
from collections import Counter
from typing import Any

from detox.ps.assignment import Files
from detox.ps.model import GlobalModel
from detox.ps.server import Peers
from detox.wire import DIGEST_BYTES, PROBE, Header, Kind, Work, digest_of


class StartError(RuntimeError):
    """The run cannot start; the message says which ranks are why."""


def probe(
    transport: Peers, ranks: list[int], model: GlobalModel, files: Files, deadline: float, poll: float
) -> dict[int, bytes]:
    """Rank -> digest of the gradient of one file, as the rank's first worker computes it.

    All workers of a rank share a process, so one of them speaks for all.

    Args:
        transport: messages to the ranks.
        ranks: rank of each worker.
        model: its weights are the ones to take the gradient at.
        files: one file of the first step is the probe.
        deadline: seconds to wait.
        poll: seconds of sleep where nothing has arrived.

    Raises:
        StartError: ranks that died or did not answer.
    """
    transport.limits[Kind.CLAIM] = DIGEST_BYTES
    weights = model.weights
    first = {rank: ranks.index(rank) for rank in sorted(set(ranks))}
    transport.send(first, Header(Kind.WEIGHTS, PROBE), weights.data.cast("B"))
    work = Work(digest_of(weights), files.file_seed(1, 0), True, files.draw(1)[0]).pack()
    for rank, worker in first.items():
        transport.send([rank], Header(Kind.WORK, PROBE, worker), work)
    digests: dict[int, bytes] = {}
    end = time.monotonic() + deadline
    while len(digests) < len(first):
        for message in transport.receive():
            asked = Header(Kind.CLAIM, PROBE, first[message.source])
            if message.header == asked and len(message.payload) == DIGEST_BYTES:
                digests[message.source] = bytes(message.payload)
        missing = sorted(set(first) - digests.keys())
        if missing and (time.monotonic() > end or transport.dead & set(missing)):
            raise StartError(f"ranks {missing} did not pass the self-test")
        time.sleep(poll)
    return digests


def unequal(digests: dict[int, bytes], fingerprints: dict[int, dict[str, Any]]) -> list[str]:
    """A sentence for each rank whose bits differ from those of most ranks; empty if all agree."""
    counts = Counter(digests.values())
    if len(counts) <= 1:
        return []
    common = max(counts, key=lambda digest: (counts[digest], -min(r for r in digests if digests[r] == digest)))
    example = next(rank for rank in sorted(digests) if digests[rank] == common)
    lines = [f"most ranks compute equal bits, such as {_describe(example, fingerprints)}; these differ:"]
    lines += [_describe(r, fingerprints) for r in sorted(digests) if digests[r] != common]
    return lines


def _describe(rank: int, fingerprints: dict[int, dict[str, Any]]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in fingerprints[rank].items() if value not in ("", None))
    return f"rank {rank} ({facts})"
