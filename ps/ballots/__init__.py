"""The vote on a file, by the modes that `vote` names in a config.

A mode to add: a class with the methods of Ballot, and a line in VOTES.
"""

from collections.abc import Mapping

from detox.ps.ballots.ballot import Ballot
from detox.ps.ballots.ballots import Ballots
from detox.ps.ballots.digest import DigestBallot, Verdict, judge
from detox.ps.ballots.full import FullBallot
from detox.ps.ballots.tally import Outcome, Tally
from detox.ps.ballots.tolerance import ToleranceBallot

VOTES: Mapping[str, type[Ballot]] = {"digest": DigestBallot, "full": FullBallot, "tolerance": ToleranceBallot}

__all__ = [
    "VOTES",
    "Ballot",
    "Ballots",
    "DigestBallot",
    "FullBallot",
    "Outcome",
    "Tally",
    "ToleranceBallot",
    "Verdict",
    "judge",
]
