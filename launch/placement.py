"""Who is Byzantine in a run: the workers act on it, and reports compare the ledger with it."""

from detox.launch.config import Config
from detox.ps.assignment import draw_groups
from detox.worker.placement import Placement


def create_placement(config: Config) -> Placement:
    """The placement that the config asks for; redrawn groups are secret, so the adversary has to guess them."""
    believed = "fixed" if config.groups == "redrawn" else config.groups
    groups = draw_groups(range(config.p), config.r, believed, config.seed)
    return Placement(config.attack.placement, config.p, config.q, config.attack.seed, groups)
