"""What does not go over TCP, where ranks may come at any time."""

from detox.config.derived import Config


def not_over_tcp(config: Config) -> str:
    """Why the rest does not go with ranks that come by themselves; empty where it does."""
    if config.groups_within == "class" and config.transport.p_min not in (None, config.p):
        return (
            f'transport.p_min = {config.transport.p_min}, groups_within = "class": of workers that come later nobody '
            "knows the class; leave transport.p_min out, so that all are there at the start"
        )
    return ""
