"""Who is Byzantine in a run, and what they do: the workers act on it, and reports compare the ledger with it."""

from typing import Any

from detox.assignment.designs import Design
from detox.config.defences import AuditConfig
from detox.config.derived import Config
from detox.errors.words import counted
from detox.worker.adversary import Adversary
from detox.worker.attacks import ATTACKS
from detox.worker.defence import Defence
from detox.worker.placement import Placement


def create_placement(config: Config) -> Placement:
    """The placement that the config asks for; what is redrawn is secret, so the adversary guesses consecutive ids."""
    optimal = config.attack.placement == "optimal"
    changes: dict[str, Any] = {"groups_redrawn": False, "audit": AuditConfig()}
    changes |= {"groups": "fixed"} if config.groups == "redrawn" else {}
    changes |= {} if optimal else {"copies": "all"}  # the others go by groups, of which lazy copies have none
    believed = config.model_copy(update=changes).create_scheme()
    groups = believed.draw(0, range(config.p)).holders
    return Placement(config.attack.placement, config.p, config.q, config.attack.seed, groups)


def create_adversary(config: Config, ranks: list[int], rank: int, fellows: Any, d: int, b: int) -> Adversary:
    """The Byzantine workers of a rank.

    Args:
        config: of the run.
        ranks: rank of each worker, behind the servers.
        rank: this rank.
        fellows: messages to the other workers' ranks, numbered from 0 there; None: the attack takes none.
        d, b: entries of a gradient, and of what is behind it.
    """
    attack = config.attack
    return Adversary(
        attack.kind,
        ATTACKS[attack.kind].strength(config.p, config.q) if attack.scale is None else attack.scale,
        create_placement(config),
        [other - config.servers for other in ranks],
        rank - config.servers,
        fellows,
        attack.wait,
        attack.seed,
        files=config.files_per_worker,
        size=d + b,
        omniscient=attack.knowledge == "omniscient",
        perturbation=attack.perturbation,
        majority={"majority": (config.r + 1) // 2, "unanimous": config.copies_at_first}.get(attack.when, 0),
        framing=attack.when == "framing",
        defence=Defence(config.hierarchy, config.f, config.votes, config.r, d),
    )


def groups_in_words(config: Config) -> str:
    """How the workers share the files of a step."""
    if config.audit.workers:
        return f"on {counted(config.votes, 'file')}, {counted(config.audit.workers, 'auditor')} among them"
    if config.designed:
        files, load = counted(config.votes, "file"), config.files_per_worker
        return f"on {files} of groups = {config.groups}, {load} a worker, r = {config.r} copies of each"
    if config.copies == "lazy":
        return f"on {counted(config.votes, 'file')}, {config.copies_at_first} to r = {config.r} copies of each"
    return f"in {counted(config.votes, 'group')} of r = {config.r}"


def worst_in_words(config: Config) -> str:
    """What Byzantine workers who know a design can spoil, and whether that is exact; empty where there is none."""
    scheme = config.create_scheme()
    if not config.q or not isinstance(scheme, Design):
        return ""
    worst = scheme.worst(config.q)
    how = "by search" if worst.exact else f"a bound; the best placement that was found spoils {worst.files}"
    return (
        f"groups = {config.groups}: q = {config.q} Byzantine workers who know who holds what spoil at most "
        f"{worst.bound} of {counted(config.votes, 'file')} ({how})"
    )


def adversary_in_words(config: Config) -> str:
    """How many workers are Byzantine, and what they do."""
    if not config.q:
        return "q = 0 Byzantine"
    return f"q = {config.q} Byzantine ({config.attack.kind}, {config.attack.placement} placement)"
