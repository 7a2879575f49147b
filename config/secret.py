"""The seed of what no worker may foresee: redrawn groups, audits, and the shuffle of the votes."""

import numpy as np

from detox.config.derived import Config


def known_secret(config: Config) -> int | None:
    """The secret seed, as far as the config says it."""
    public = not config.redrawn and not config.audit.ps
    return config.seed if config.secret_seed is None and public else config.secret_seed


def secret_seed(config: Config) -> int:
    """The secret seed, drawn from the operating system now if the config leaves it open."""
    if (known := known_secret(config)) is not None:
        return known
    entropy = np.random.SeedSequence().entropy
    assert isinstance(entropy, int)
    return entropy
