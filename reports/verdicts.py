"""What the verdicts on workers mean, in words, and from what on dissents make a worker suspect."""

from detox.config import Config
from detox.errors.words import counted
from detox.ps.events import Trait, kinds
from detox.reports.evidence import suspicious
from detox.reports.log import Log, assumed

_VERDICTS = {
    "proven": "its own messages contradict each other, or what the PS computed; or q Byzantine workers without it\n"
    "cannot explain who contradicts whom.",
    "suspect": "outvoted more often than an honest worker is by chance.",
    "absent": "dead, or silent most of the time.",
    "no proof": "all else; where Byzantine workers are the majority of a group, it is the honest that dissent.",
}
_FLOODS = "Only the first few malformed and late messages of a rank in a step are written, and counted here."
_TOLERANCE = """\
vote = "tolerance": a deviation of at most {:g} of the gradient's length agrees, and is not in this ledger; one
Byzantine worker in each group can move every vote so far, always in the same direction. See docs/threat-model.md."""


def legend(log: Log) -> str:
    """What the verdicts of the table mean, and no others."""
    found = {finding.verdict for finding in log.findings}
    lines = [f"{name}: {meaning}" for name, meaning in _VERDICTS.items() if name in found]
    flooded = any(kind in finding.counts for finding in log.findings for kind in kinds(Trait.FLOOD))
    return "\n".join([*lines, *([_FLOODS] if flooded else [])])


def undisputed_in_words(log: Log) -> str:
    """Up to which step every vote is beyond dispute."""
    if log.config.r == 1 and not log.config.audit.workers:
        return "With r = 1 nobody contradicts a vote."
    if not log.undisputed:
        return "Votes are in dispute from the first step on."
    return f"Up to step {log.undisputed} every vote is beyond dispute: nobody contradicted it who is not proven."


def tolerance_in_words(config: Config) -> str:
    """What a vote with a tolerance lets through."""
    return _TOLERANCE.format(config.vote_tolerance)


def threshold_in_words(log: Log) -> str:
    """From how many dissents on a worker is suspect, and why."""
    config, least = log.config, suspicious(log.steps, log.chance)
    assumed_ = f"Assumed: at most q = {log.q} of {counted(config.p, 'worker')} are Byzantine{_whence(log)}"
    if log.wanders:
        return (
            f'attack.placement = "random": other {log.q} workers are Byzantine in each step, so that in the long\n'
            f"run all of them lie as often, about {log.q / config.p:.0%} of the time: dissents make nobody suspect."
        )
    if not log.explained:
        return _beyond_in_words(log)
    if log.chance == 0:
        return f"{assumed_}, and never the\nmajority of {_holders(log)}: one dissent makes a worker suspect."
    if config.worker_momentum:
        return (
            "worker_momentum: whoever misses a step dissents from then on, honest or not: dissents make nobody suspect."
        )
    if config.audit.workers and log.chance == 1:
        return (
            'audit.trust = "earned": whom an audit falls on follows from what the workers did, so that by how many\n'
            "dissents an honest one may come is not known: dissents make nobody suspect."
        )
    if config.groups != "redrawn" and not config.audit.workers:
        return (
            f"groups = {config.groups}: a vote alone cannot tell which side of a split group is honest, so dissents\n"
            "make nobody suspect."
        )
    if least > log.steps:
        return f"{log.steps} steps are too few for dissents to make a worker suspect."
    return (
        f"{assumed_}. Then an honest worker is\n"
        f"outvoted in {log.chance:.2%} of the steps at most, so that {least} dissents in {log.steps} steps make a\n"
        "worker suspect: by chance that happens in less than one of 1e9 runs."
    )


def _holders(log: Log) -> str:
    return f"the {log.holders} of an audited file" if log.config.audit.workers else f"r = {log.config.r}"


def _whence(log: Log) -> str:
    if log.q == log.config.q:
        return ""
    return ", as many as aggregator.f tolerates" if log.q == assumed(log.config) else ", as -q says"


def _beyond_in_words(log: Log) -> str:
    """That the assumption is wrong, and by how much at least."""
    return (
        f"more than q = {log.q}{_whence(log)}: so few Byzantine workers cannot have outvoted all\n"
        f"these by chance. There are {log.least} at least, or hosts that do not compute equal bits, and who is\n"
        f"Byzantine cannot be told from dissents then. -q {log.least} names those whom so many explain."
    )
