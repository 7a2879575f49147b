"""What does not go with several servers."""

from detox.config.defences import ForensicsConfig
from detox.config.derived import Config
from detox.ps.elementwise import ELEMENTWISE


def unshared(config: Config) -> str:
    """Why the rest does not go with several servers; empty where it does."""
    optimizer, unset = config.optimizer, ForensicsConfig()
    if config.vote != "digest" or config.r == 1:
        return 'their shares are voted on by digests; set vote = "digest" and r = 3'
    if config.recomputes:
        return (
            "none has all weights in each step, so none recomputes; leave recomputation off "
            '(on_tie = "drop", quarantine.policy not recompute, audit.ps = 0)'
        )
    if config.device != "cpu":
        return 'their shares are in main memory; set device = "cpu"'
    if optimizer.name not in ELEMENTWISE:
        return (
            f"optimizer.name = {optimizer.name} looks at whole tensors; of those that look at single entries take one: "
            f"{', '.join(sorted(ELEMENTWISE))}"
        )
    if optimizer.options.get("fused"):
        return "optimizer.options.fused: its bits depend on where a tensor is cut; leave it out"
    if optimizer.clip_norm is not None or optimizer.ema:
        return "optimizer.clip_norm and optimizer.ema are for one server yet; leave them out"
    if config.forensics.every not in (0, unset.every) or config.forensics.limit != unset.limit:
        return "no server has a whole vote, so nobody is examined; leave forensics.every and forensics.limit out"
    if config.chain_every:
        return "a chain is of whole votes; set chain_every = 0"
    return ""
