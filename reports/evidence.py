"""What the ledger's entries prove of a worker, and what they only make likely."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from detox.ps.events import EventKind, Trait, kinds

Verdict = Literal["proven", "suspect", "absent", "no proof"]
Pattern = Literal["persistent", "intermittent", "transient", ""]

# What entries of each kind mean, the mildest first.
KINDS = {kind.value: kind.meaning for kind in EventKind if not kind.traits & (Trait.UNWRITTEN | Trait.NOTE)}
_BY_VOTE = tuple(kind for kind in kinds(Trait.BY_VOTE) if kind != EventKind.AGREED)
_SEVERITY: tuple[Verdict, ...] = ("proven", "suspect", "absent", "no proof")
_LEVEL = 1e-9  # probability, per worker, of suspecting an honest one
_FEW = 3  # steps


def outvoted(p: int, q: int, r: int, redrawn: bool) -> float:
    """The most that the probability of an honest worker's dissent in one step can be.

    An honest worker dissents only where a strict majority of its group is Byzantine: at least (r+1)/2 of its r-1
    fellows. Where groups are redrawn in secret, the fellows are a uniform draw from the p-1 others, q of them
    Byzantine, so their number is hypergeometric. Groups that stay may have such a majority in all steps.

    Args:
        p: workers, p >= r.
        q: Byzantine workers among them, at most.
        r: workers per group, odd.
        redrawn: whether groups are drawn anew each step.
    """
    majority, others = (r + 1) // 2, p - 1
    if q < majority:
        return 0.0
    if not redrawn:
        return 1.0
    byzantine = min(q, others)
    ways = sum(math.comb(byzantine, k) * math.comb(others - byzantine, r - 1 - k) for k in range(majority, r))
    return ways / math.comb(others, r - 1)


def outvoted_in_audits(p: int, q: int, auditors: int, uniform: bool) -> float:
    """The same where a file has one holder, unless it is audited: then three, see AuditedFiles.

    An honest worker dissents only where the two others of an audited file are Byzantine. It is in 3 auditors/p such
    files on average, with two of its p-1 fellows; both numbers are exact where who is audited is drawn uniformly, and
    their product is no less than the probability. Where it follows from what workers did, nothing is known of it.

    Args:
        p: workers, p >= 3.
        q: Byzantine workers among them, at most.
        auditors: a step, at most.
        uniform: whether each worker is as likely to be audited.
    """
    both = outvoted(p, q, 3, redrawn=True)
    return min(1.0, 3 * auditors / p * both) if uniform else float(both > 0)


@cache
def suspicious(n: int, chance: float) -> int:
    """The fewest dissents k in n steps with P(X >= k) < 1e-9 for X ~ Binomial(n, chance); n + 1 if there is none.

    Args:
        n: steps.
        chance: of an honest worker's dissent in one step, see outvoted.
    """
    if chance in (0.0, 1.0):
        return n + 1 if chance else 1
    tail = 0.0
    for k in range(n, 0, -1):
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        tail += math.exp(ways + k * math.log(chance) + (n - k) * math.log1p(-chance))
        if tail >= _LEVEL:
            return k + 1
    return 1


def pattern_of(offences: Collection[int], end: int) -> Pattern:
    """How a worker's offences lie in time.

    persistent: in two or more steps, and in more than half of those from the first offence to `end`. transient:
    otherwise, in three steps or fewer. intermittent: all else. Empty where there is no offence.

    Args:
        offences: steps, in any order; a step counts once.
        end: last step in which the worker took part.
    """
    steps = set(offences)
    if not steps:
        return ""
    span = max(end, *steps) - min(steps) + 1
    if len(steps) > 1 and 2 * len(steps) > span:
        return "persistent"
    return "transient" if len(steps) <= _FEW else "intermittent"


def judge(steps: Mapping[str, Collection[int]], end: int, chance: float) -> Verdict:
    """What is known of a worker.

    proven: an entry is a proof. suspect: it dissented more often than an honest worker does by chance. absent: its
    rank is dead, or it is persistently silent. no proof: all else, for where Byzantine workers are the majority of a
    group, it is the honest that dissent.

    Args:
        steps: by kind of entry, the steps in which the worker has one.
        end: last step in which the worker took part.
        chance: of an honest worker's dissent in one step, see outvoted.
    """
    if any(steps.get(kind) for kind in kinds(Trait.PROOF)):
        return "proven"
    # Steps in which it was silent count too: when to be silent is a worker's own choice.
    if len({step for step in steps.get("dissented", ()) if step <= end}) >= suspicious(end, chance):
        return "suspect"
    silent = pattern_of(steps.get("silent", ()), end)
    return "absent" if steps.get("dead") or silent == "persistent" else "no proof"


@dataclass(frozen=True)
class Finding:
    """What the ledger says of a worker.

    Attributes:
        worker: its id; None for entries that only name a rank.
        rank, host: where it was last.
        counts: entries by kind, without dead and quarantined; agreed is every step in which the vote said nothing
            else, those in which it had no file or is yet to be judged too.
        first, last: steps of its first and last offence; None where there is none.
        pattern, verdict: see pattern_of and judge.
        dead, quarantined: step in which it died, and from which on it is out; None if neither.
        why: the reason for its quarantine.
    """

    worker: int | None
    rank: int
    host: str
    counts: dict[str, int]
    first: int | None
    last: int | None
    pattern: Pattern
    verdict: Verdict
    dead: int | None
    quarantined: int | None
    why: str


def find(entries: Iterable[dict[str, Any]], made: int, chance: float, proven: Collection[int] = ()) -> list[Finding]:
    """One finding for each worker, or rank where no worker is named, that has an entry; the worst first.

    Args:
        entries: the lines of a ledger.
        made: steps made.
        chance: of an honest worker's dissent in one step, see outvoted.
        proven: workers that who contradicts whom proves, see detox.reports.contradictions.
    """
    found: dict[tuple[int | None, int], list[dict[str, Any]]] = {}
    for entry in entries:
        worker = entry["worker"]
        found.setdefault((worker, entry["rank"] if worker is None else -1), []).append(entry)
    return sorted((_finding(of_one, made, chance, proven) for of_one in found.values()), key=_badness)


def accused(findings: Iterable[Finding]) -> int:
    """Workers that are proven Byzantine or suspect; more than there can be shows that q was assumed too small."""
    return sum(finding.worker is not None and finding.verdict in ("proven", "suspect") for finding in findings)


def _finding(entries: list[dict[str, Any]], made: int, chance: float, proven: Collection[int]) -> Finding:
    steps: dict[str, list[int]] = {}
    for entry in entries:
        steps.setdefault(entry["kind"], []).append(entry["step"])
    dead, quarantined = (min(steps.get(kind, ()), default=None) for kind in (EventKind.DEAD, EventKind.QUARANTINED))
    end = made if quarantined is None else min(made, quarantined - 1)
    # When a worker is proven is not when it offended.
    acts = set(EventKind) - set(kinds(Trait.BLAMELESS)) - {EventKind.PROVEN}
    offences = {step for kind in acts for step in steps.get(kind, ())}
    counts = {kind: len(steps[kind]) for kind in KINDS if kind in steps and kind not in kinds(Trait.ONCE)}
    newest = entries[-1]
    if newest["worker"] is not None:
        counts["agreed"] = end - len({step for kind in _BY_VOTE for step in steps.get(kind, ()) if step <= end})
    return Finding(
        worker=newest["worker"],
        rank=newest["rank"],
        host=newest["host"],
        counts=counts,
        first=min(offences, default=None),
        last=max(offences, default=None),
        pattern=pattern_of(offences, end),
        verdict="proven" if newest["worker"] in proven else judge(steps, end, chance),
        dead=dead,
        quarantined=quarantined,
        why=next((entry.get("detail", "") for entry in entries if entry["kind"] == "quarantined"), ""),
    )


def _badness(finding: Finding) -> tuple[Any, ...]:
    counts = [-finding.counts.get(kind, 0) for kind in reversed(KINDS) if kind != "agreed"]
    worker = -1 if finding.worker is None else finding.worker
    return _SEVERITY.index(finding.verdict), counts, worker, finding.rank
