"""What a run can check its votes by: what each choice costs, and what it finds; for `detox-ps plan`."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from detox.assignment.schemes import SCHEMES, AuditedFiles
from detox.assignment.theory import all_byzantine, audited_bad_votes, copies, expected_bad_votes, until_audited
from detox.config import Config
from detox.config.defences import AuditConfig
from detox.config.threats import AttackConfig
from detox.reports.simulation import Behaviour, simulate

_RUNS = 20
_WORKERS = 900  # of all simulated runs of a setting
_LIARS = 15  # more are simulated only where --runs asks for it: who is proven is an exponential search
_LONGEST = 1500  # steps with lies of a simulated run


@dataclass(frozen=True)
class Found:
    """What simulated runs came to.

    Attributes:
        named, named_most: steps made when the last wrong worker was out, median and most; None where it never was.
        bad, bad_most: bad votes until then, or until the simulation ended.
    """

    named: float | None
    named_most: float | None
    bad: float
    bad_most: int


@dataclass(frozen=True)
class Choice:
    """A setting of r, copies and audit.

    Attributes:
        config: with p, q, r, copies and audit; the graph of disagreements is its quarantine.
        rate: share of the steps in which faulty hardware computes wrong.
        runs: simulated runs of each behaviour.
    """

    config: Config
    rate: float = 1.0
    runs: int = _RUNS

    @classmethod
    def create(
        cls, p: int, q: int, r: int, *, lazy: bool = False, auditors: int = 0, audited: int = 0, rate: float = 1.0,
        runs: int | None = None,
    ) -> "Choice | None":  # fmt: skip
        """The choice; None where p workers cannot make it.

        Args:
            p, q, r, lazy, auditors, audited: of the config.
            rate: see Choice.
            runs: see Choice; None: fewer the more workers there are, none of many Byzantine ones, for who is proven is
                a search that takes ever longer. Where they are half of the workers or more, nothing is simulated.
        """
        if SCHEMES["redrawn"].why_not(p, r, lazy) or (auditors and AuditedFiles.why_not(p, auditors)):
            return None
        config = Config(
            p=p,
            q=q,
            r=r,
            copies="lazy" if lazy else "all",
            audit=AuditConfig(workers=auditors, ps=audited),
            attack=AttackConfig(placement="fixed"),  # whoever is wrong once may always be
        )
        if audited > config.votes:
            return None
        usual = min(_RUNS, _WORKERS // p) if q <= _LIARS else 0
        return cls(config, rate, 0 if 2 * q >= p else usual if runs is None else runs)

    def __str__(self) -> str:
        config, audit = self.config, self.config.audit
        lazy = ', copies = "lazy"' if config.copies == "lazy" else ""
        audits = ((name, getattr(audit, name)) for name in ("workers", "ps"))
        return f"r = {config.r}{lazy}" + "".join(f", audit.{name} = {count}" for name, count in audits if count)

    @cached_property
    def _asked(self) -> list[int]:
        """Of each file, how many workers are asked for it at first."""
        assignment = self.config.create_scheme().draw(1, range(self.config.p))
        return list(assignment.first) or [len(holders) for holders in assignment.holders]

    @property
    def copies(self) -> float:
        """Copies of a file that workers and PS compute, on average, where nobody is wrong; exact."""
        return (sum(self._asked) + self.config.audit.most) / len(self._asked)

    @property
    def copies_attacked(self) -> float:
        """The same while all q lie alike, about all files, and none of them is named."""
        config, files = self.config, len(self._asked)
        if config.copies == "lazy":
            further = copies(config.p, config.q, config.r) - config.copies_at_first
        else:
            p, q = config.p, config.q
            split = 2 * q * (p - q) / (p * (p - 1)) if config.audit.workers else 0.0
            further = config.audit.workers * split / files
        return self.copies + further * (1 - config.audit.least / files)

    @property
    def overhead(self) -> float:
        """Copies beyond one per file."""
        return self.copies - 1

    def _unaudited(self, files: float) -> float:
        return files * (1 - self.config.audit.least / self.config.votes)

    @property
    def bad_by_fault(self) -> float:
        """Bad votes per step, on average, from one faulty worker that is not named yet; exact."""
        p, k = self.config.p, self.config.audit.workers
        return self._unaudited(self.rate * (p - 2 * k) / p) if self.config.r == 1 else 0.0

    @property
    def bad_by_byzantine(self) -> float:
        """The same from q Byzantine workers that all lie alike; exact."""
        p, q, r = self.config.p, self.config.q, self.config.r
        files = (
            audited_bad_votes(p, q, self.config.audit.workers) if r == 1 else expected_bad_votes(p, q, r, self.files)
        )
        return self._unaudited(float(files))

    @property
    def unseen(self) -> float | None:
        """Bad votes per step that no worker contradicts, on average; exact. None where a file has one copy."""
        if self.config.r == 1:
            return None
        return self._unaudited(float(all_byzantine(self.config.p, self.config.q, self._asked)))

    @property
    def files(self) -> int:
        """Files of a step."""
        return self.config.votes

    @property
    def checked(self) -> bool:
        """Whether anybody computes anything again."""
        return self.config.r > 1 or self.config.audit.workers + self.config.audit.most > 0

    @cached_property
    def fault(self) -> Found | None:
        """One faulty worker, simulated; None: not at all."""
        return self._simulate(Behaviour(min(1, self.config.q), self.rate, alike=False))

    @cached_property
    def always(self) -> Found | None:
        """q workers that lie alike, always."""
        return self._simulate(Behaviour(self.config.q))

    @cached_property
    def majority(self) -> Found | None:
        """q workers that lie where they win; with r = 1 that is always, for who is audited is secret.

        With lazy copies it is where all that are asked at first are theirs; see unanimous.
        """
        if self.config.r == 1:
            return self.always
        if self.config.copies == "lazy":
            return None
        return self._simulate(Behaviour(self.config.q, when="majority"))

    def unanimous(self) -> tuple[float, float] | None:
        """Bad votes and steps until q are named that lie only where nobody contradicts them; None: never."""
        config = self.config
        if config.r == 1 or not config.audit.least:
            return None
        return until_audited(config.p, config.q, config.copies_at_first, config.audit.least)

    @property
    def worst(self) -> float | None:
        """Bad votes in a whole run, whatever q Byzantine workers do; None where they have no end."""
        ends = [self.always, *([self.majority] if self.config.copies == "all" else [])]
        if any(one is None or one.named is None for one in ends):
            return None
        most = max(one.bad for one in ends if one is not None)
        if not self.unseen:
            return most
        last = self.unanimous()
        return None if last is None else max(most, last[0])

    def _simulate(self, behaviour: Behaviour) -> Found | None:
        if not (self.runs and behaviour.wrong and self.checked):
            return None
        return simulated(self.config, behaviour, self.runs)


def simulated(config: Config, behaviour: Behaviour, runs: int, longest: int = _LONGEST) -> Found:
    """So many simulated runs; the same in each call."""
    outcomes = [simulate(config, behaviour, seed, longest) for seed in range(runs)]
    named = [math.inf if one.named is None else one.named for one in outcomes]
    bad = [one.bad for one in outcomes]
    middle, most = median(named), max(named)
    return Found(middle if middle < math.inf else None, most if most < math.inf else None, median(bad), max(bad))
