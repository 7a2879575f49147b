"""What does not go over TCP, where ranks dial the parameter server alone, and may come at any time."""

from detox.config.derived import Config


def not_over_tcp(config: Config) -> str:
    """Why the rest does not go with ranks that dial the parameter server; empty where it does."""
    if config.groups_within == "class":
        return (
            'groups_within = "class": over TCP ranks may come later, of whose class nobody knows yet; set '
            'groups_within = "all", or train over MPI'
        )
    return ""
