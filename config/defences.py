"""What a run does about Byzantine workers: aggregation of the votes, and quarantine."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from detox.aggregators import Hierarchy, create_hierarchy
from detox.config.fields import Count, Natural, Section, Several
from detox.ps.contradictions import GraphQuarantine
from detox.ps.forensics import Forensics
from detox.ps.offences import OffenceQuarantine
from detox.ps.quarantine import Quarantine
from detox.ps.round import LATE_STEPS

_WINDOW = 20  # steps


class AggregatorConfig(Section):
    """How the votes of the groups become one update."""

    name: str | None = "median"
    """A plain rule over all votes; a pair of the paper (d-median, d-multi-krum, d-bulyan, d-signsgd), which needs more
    votes; or draco."""
    a0: str | None = None
    """Rule within a vote group; overrides the one that `name` implies."""
    a1: str | None = None
    """Rule across the vote groups; overrides the one that `name` implies."""
    k: Count | None = None
    """Votes in a vote group, at most; overrides the one that `name` implies."""
    f: Natural | None = None
    """Bad votes to tolerate per step; unset: the worst case of q: floor(q / ((r+1)/2)), with lazy copies up to q - 1 at
    r = 3, with auditors q."""
    pre: Annotated[tuple[str, ...], Several] = ()
    """Pre-aggregators, applied to the votes in this order."""
    options: dict[str, dict[str, int | float | str]] = Field(default={})
    """By name of a rule or pre-aggregator, its options: options.multi_krum.m = 3."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of the PS for aggregation; the result does not depend on them."""

    @property
    def chosen(self) -> str:
        """The field that says which rule it is: name, or a0."""
        return "a0" if self.name is None else "name"

    def why_not(self) -> str:
        """What of the options is not for a config to give; empty where there is nothing."""
        for name, options in self.options.items():
            if supplied := {"previous", "rng", "trusted"} & options.keys():
                return f"aggregator.options.{name}.{min(supplied)} is no number; the PS sees to it itself"
        return ""

    def create(self) -> Hierarchy:
        """The aggregation; raises AggregatorError where there is none of that name, or an option does not fit."""
        return create_hierarchy(
            self.name, a0=self.a0, a1=self.a1, k=self.k, pre=self.pre, options=self.options, threads=self.threads
        )


class AuditConfig(Section):
    """Files that are computed once more, to see whether votes are true."""

    workers: Natural = 0
    """With r = 1: workers that compute again what others do, in place of a file of their own; who and what is drawn in
    secret each step. A third decides where two disagree, and quarantine.policy = "graph" keeps it."""
    trust: Literal["never", "earned"] = "never"
    """With audit.workers. earned: whoever was checked and right n >= 10 times since its last error is checked with
    probability 1/n, and who need not audit has a file of its own (BOINC). For faulty hardware: Byzantine workers earn
    trust, and spend it; see docs/integrity.md."""
    ps: Natural | Literal["auto"] = 0
    """Files that the PS computes itself in a step, drawn in secret, while it waits for the workers. It settles their
    votes, and proves whoever claims otherwise, where no vote can: all holders of a file may be Byzantine. auto: one,
    in the steps that do not get longer by it."""

    @property
    def most(self) -> int:
        """Files that the PS computes in a step at most."""
        return 1 if self.ps == "auto" else self.ps

    @property
    def least(self) -> int:
        """Files that it computes in every step."""
        return 0 if self.ps == "auto" else self.ps


class ForensicsConfig(Section):
    """What a dissenter computed in place of the vote: entries, bits and tensors, for ledger and blame."""

    every: Natural = 100
    """Steps until the same worker is examined again; 0, or several servers: nobody is."""
    limit: Annotated[int, Field(ge=1, le=2**26)] = 2**22
    """Bytes of a dissenter's gradient that are examined, and asked for where it is not here: of its first pieces that
    differ, of 256 KiB each; one piece at the least. Examining takes the PS some 10 ms per MiB."""

    def create(self, size: int, tensors: Sequence[tuple[str, int]], *, whole: bool = True) -> Forensics:
        """The forensics of vectors of so many entries.

        Args:
            size: entries of a vector.
            tensors: name and entries of each tensor in it, in order.
            whole: whether the PS has whole votes; else nobody is examined.
        """
        return Forensics(size, tensors, every=self.every if whole else 0, limit=self.limit)


class QuarantineConfig(Section):
    """Leaving out workers that offend too often; groups are drawn from the rest, and q and f follow."""

    policy: Literal["auto", "never", "graph", "majority", "recompute"] = "auto"
    """auto: graph where that is sound, else never. never: nobody is. graph: whoever must have lied, by who contradicts
    whom, if no more than q workers do; see docs/integrity.md. majority: dissents from strict majorities suffice; honest
    workers that are outvoted are false positives. recompute: the PS first computes a suspect's file itself, and only
    that convicts."""
    after: Count = 3
    """majority, recompute: offences (dissented, lied, equivocated, convicted) that make a worker due."""
    window: Count | None = None
    """Steps in which offences have to fall; unset: 20. graph: steps for which a contradiction counts, and within which
    at most q workers are wrong; unset: all."""
    minimum: Natural = 0
    """Workers that are left in any case; never fewer than the aggregator needs."""
    fail_closed: bool = False
    """graph: end the run where more than q workers must have lied, in place of a warning."""

    def create(self, policy: Literal["never", "graph", "majority", "recompute"], q: int) -> Quarantine:
        """The quarantine, before the first step.

        Args:
            policy: what `policy` comes to; see Config.quarantine_policy.
            q: Byzantine workers to tolerate.
        """
        if policy == "graph":
            return GraphQuarantine(q, self.window, self.minimum, self.fail_closed)
        return OffenceQuarantine(policy, self.after, self.window or _WINDOW, LATE_STEPS, self.minimum)
