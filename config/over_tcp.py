"""What does not go over TCP, where ranks dial the parameter server alone, and may come at any time."""

from detox.config.derived import Config
from detox.worker.relay_faults import RELAYS


def not_over_tcp(config: Config) -> str:
    """Why the rest does not go with ranks that dial the parameter server; empty where it does."""
    if config.groups_within == "class":
        return (
            'groups_within = "class": over TCP ranks may come later, of whose class nobody knows yet; set '
            'groups_within = "all", or train over MPI'
        )
    if config.colludes:
        return (
            f"attack.kind = {config.attack.kind}, attack.when = {config.attack.when}: colluding workers talk to each "
            "other, for which they have no connection over TCP; rehearse that over MPI, or take another attack"
        )
    if config.transport.relay == "relay":
        return (
            'transport.relay = "relay": over TCP ranks of workers do not reach each other; set transport.relay = '
            '"star", or train over MPI'
        )
    if idle := sorted(RELAYS.keys() & set(config.fault.kind)):
        return f"fault.kind = {idle[0]}: over TCP no rank passes weights on; rehearse that over MPI"
    return ""
