"""The self-test at the start: every worker computes the same probe gradient, and the bits have to be equal."""

from collections import Counter
from typing import Any

from detox.errors import JobError, UserError
from detox.errors.words import counted, named
from detox.ps.model import GlobalModel
from detox.tasks.samples import Files
from detox.wire import DIGEST_BYTES, PROBE, Header, Kind, Message, Session, Work, claim_of, digest_of


class StartError(JobError):
    """The run cannot start; the message says which ranks are why."""


class UnequalError(UserError):
    """Ranks compute other bits than the config needs, and would again; the message says which, and what to do."""


def probe(session: Session, ranks: list[int], model: GlobalModel, files: Files, deadline: float) -> dict[int, bytes]:
    """Worker -> digest of the gradient of one file, the same for all; without those that died or are too late.

    Args:
        session: the conversation with the ranks.
        ranks: rank of each worker.
        model: its weights are the ones to take the gradient at.
        files: one file of the first step is the probe.
        deadline: seconds to wait for all of them together.
    """
    session.expect({Kind.CLAIM: DIGEST_BYTES})
    weights = model.weights
    session.send(sorted(set(ranks)), Header(Kind.WEIGHTS, PROBE), weights.data.cast("B"))
    work = probe_work(model, files)
    for worker, rank in enumerate(ranks):
        session.send([rank], Header(Kind.WORK, PROBE, worker), work)
    digests: dict[int, bytes] = {}

    def take(message: Message) -> None:
        header = message.header
        if header is None or header.worker >= len(ranks) or ranks[header.worker] != message.source:
            return
        if header == Header(Kind.CLAIM, PROBE, header.worker) and len(message.payload) == DIGEST_BYTES:
            digests[header.worker] = bytes(message.payload)

    def heard() -> bool:
        return all(worker in digests or rank in session.dead for worker, rank in enumerate(ranks))

    session.wait(heard, take, deadline=session.clock() + deadline)
    return digests


def probe_work(model: GlobalModel, files: Files) -> bytes:
    """The payload of the WORK that all workers are given: one file of the first step, at the model's weights."""
    return Work(digest_of(model.weights), files.file_seed(1, 0), True, files.draw(1)[0]).pack()


def check_answers(digests: dict[int, bytes], ranks: list[int], hosts: dict[int, str] | None = None) -> None:
    """Raises StartError where a worker has no digest; it names the ranks, and their hosts where these are given."""
    if missing := sorted({rank for worker, rank in enumerate(ranks) if worker not in digests}):
        raise StartError(f"{named(missing, hosts or {})} did not pass the self-test; see above what they printed")


def check_own_bits(digests: dict[int, bytes], ranks: list[int], model: GlobalModel, files: Files) -> None:
    """Compares the PS's own probe with the workers', for it is to compute files in their place.

    Args:
        digests: by worker, see probe.
        ranks: rank of each worker.
        model, files: as probe had them.

    Raises:
        UnequalError: workers compute other bits, and would be convicted of it.
    """
    own = claim_of(model.compute(files.draw(1)[0], files.file_seed(1, 0)))
    differ = [worker for worker, digest in sorted(digests.items()) if digest != own]
    if differ:
        where = named(sorted({ranks[worker] for worker in differ}), {})
        raise UnequalError(
            f"the PS computes other bits than {len(differ)} of {counted(len(digests), 'worker')} ({where}), so it "
            "cannot judge them: give all the same hardware and device, take the ranks that differ out, or leave "
            "recomputation off (on_tie, quarantine.policy, audit.ps)"
        )


def classes_of(digests: dict[int, bytes]) -> tuple[tuple[int, ...], ...]:
    """The workers that computed equal bits, the largest class first."""
    found: dict[bytes, list[int]] = {}
    for worker in sorted(digests):
        found.setdefault(digests[worker], []).append(worker)
    return tuple(sorted(map(tuple, found.values()), key=lambda members: (-len(members), members)))


def unequal(digests: dict[int, bytes], ranks: list[int], fingerprints: dict[int, dict[str, Any]]) -> list[str]:
    """A sentence for each rank with a worker whose bits differ from those of most workers; empty if all agree.

    Args:
        digests: by worker, see probe.
        ranks: rank of each worker.
        fingerprints: by rank, what decides the bits there.
    """
    counts = Counter(digests.values())
    if len(counts) <= 1:
        return []
    if len(counts) == len(digests) > 2:
        lines = ["no two workers compute equal bits: the task is not deterministic, or no two ranks are alike:"]
        return lines + [_describe(rank, fingerprints) for rank in sorted(set(ranks))]
    common = max(counts, key=lambda digest: (counts[digest], -min(w for w in digests if digests[w] == digest)))
    differ = sorted({ranks[worker] for worker, digest in digests.items() if digest != common})
    example = next(ranks[worker] for worker in sorted(digests) if digests[worker] == common)
    lines = [f"most workers compute equal bits, such as those of {_describe(example, fingerprints)}; these differ:"]
    return lines + [_describe(rank, fingerprints) for rank in differ]


def _describe(rank: int, fingerprints: dict[int, dict[str, Any]]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in fingerprints[rank].items() if value not in ("", None))
    return f"rank {rank} ({facts})"
