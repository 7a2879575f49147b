"""A scheme and a vote mode that are not ours, through the server as it is: a class each, and a line in a registry."""

import numpy as np
import pytest
from helpers import Line, Workers

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES, Assignment
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import VOTES, DigestBallot, Outcome, Tally
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.offences import OffenceQuarantine
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.tasks.samples import Files

P = 7
RANKS = [1 + worker // 4 for worker in range(P)]


class Ring:
    """File j is held by the workers j, j+1 and j+2: as many files as workers, and three files per worker."""

    def draw(self, step, workers):
        n = len(workers)
        return Assignment(tuple(tuple(workers[(j + i) % n] for i in range(3)) for j in range(n)))

    def worst_case(self, q, files):
        return min(files, 3 * q // 2)


class UnanimousTally(Tally):
    """A vote takes all holders."""

    @property
    def majority(self):
        claims = set(self.claims.values())
        return claims.pop() if len(claims) == 1 and len(self.claims) == len(self.holders) else None

    def hopeless(self, gone=frozenset()):
        return len(set(self.claims.values())) > 1 or any(worker in gone for worker in self.holders)


class UnanimousBallot(DigestBallot):
    def __init__(self, step, file, holders, row):
        super().__init__(step, file, holders, row)
        self.tally = UnanimousTally(holders)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    monkeypatch.setitem(SCHEMES, "ring", Ring)
    monkeypatch.setitem(VOTES, "unanimous", UnanimousBallot)
    ledger = Ledger(tmp_path / "ledger.jsonl", RANKS, {})

    def _serve(lies, vote, policy="never"):
        workers, scheme = Workers(RANKS, lies=lies), SCHEMES["ring"]()
        model = GlobalModel(Line(), seed=0, steps=10, arguments={"lr": 1.0})
        model.compute_files = workers.compute_files
        server = Server(
            workers.session, RANKS, model, workers.codec, files=Files(P, 4, 1000, 0), scheme=scheme,
            create_ballot=VOTES[vote], aggregation=Aggregation(create_hierarchy("mean"), scheme, 0, 0), ledger=ledger,
            quarantine=OffenceQuarantine(policy, 3, 5, LATE_STEPS), q=0, on_tie="drop", deadline=0.3,
            fetch_deadline=0.1,
        )  # fmt: skip
        return server, workers, model

    yield _serve
    ledger.close()


def test_workers_with_several_files_have_a_verdict_on_each(serve):
    server, workers, model = serve({3: lambda v: -v}, "digest")
    before = model.weights.copy()
    list(server.train(1, 2))
    assert np.allclose(model.weights, before - 2 * np.array([4, -1]))  # the mean of 1 ... 7 is 4
    assert len(workers.work) == 2 * 3 * P
    assert server.ledger.dissents() == {3: 6}
    assert [counts["agreed"] for counts in server.ledger.counts] == [6, 6, 6, 0, 6, 6, 6]
    assert server.outcomes == {Outcome.MAJORITY: 6, Outcome.UNANIMOUS: 8}


def test_a_suspect_with_several_files_is_convicted_by_one(serve):
    server, workers, _ = serve({3: lambda v: -v}, "digest", policy="recompute")
    list(server.train(1, 30))
    assert list(server.quarantine.out) == [3]
    assert server.ledger.counts[3]["convicted"] >= 1
    assert {header.file for header in workers.computed} == {1}  # the first of its files, as long as it was in


def test_a_vote_mode_of_ones_own_decides(serve):
    server, _, model = serve({3: lambda v: -v}, "unanimous")
    before = model.weights.copy()
    (record,) = server.train(1, 1)
    assert not record.skipped
    # Worker 3 holds the files 1, 2 and 3, which have the honest gradients 2, 3 and 4: no vote on these.
    assert np.allclose(model.weights, before - [(1 + 5 + 6 + 7) / 4, -1])
    assert server.outcomes == {Outcome.NONE: 3, Outcome.UNANIMOUS: 4}
