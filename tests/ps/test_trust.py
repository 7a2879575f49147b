"""Trust that is earned: by checked results alone, lost by any error, and what of it is drawn."""

import pytest
from helpers import Line, Workers
from hypothesis import given
from hypothesis import strategies as st

from detox.aggregators import create_hierarchy
from detox.assignment.schemes import AuditedFiles
from detox.ps.aggregation import Aggregation
from detox.ps.ballots import VOTES
from detox.ps.contradictions import GraphQuarantine
from detox.ps.events import Event, EventKind
from detox.ps.ledger import Ledger
from detox.ps.model import GlobalModel
from detox.ps.round import LATE_STEPS
from detox.ps.server import Server
from detox.ps.trust import Trust
from detox.tasks.samples import Files

LAG = 3


def played(history, lag=LAG):
    """Trust in worker 0 after steps, in each of which its result was checked and right, unchecked, or wrong."""
    trust = Trust(2, lag)
    for step, what in enumerate(history, 1):
        kind = EventKind.DISSENTED if what == "wrong" else EventKind.AGREED
        trust.observe(step, {(0, 5)} if what == "right" else set(), [Event(kind, step, 0, 5)])
    return trust


@given(st.lists(st.sampled_from(["right", "right", "right", "unchecked", "wrong"]), max_size=60))
def test_the_chance_is_one_over_the_valid_results_since_the_last_error_from_ten_on(history):
    since = history[len(history) - history[::-1].index("wrong") :] if "wrong" in history else history
    n = since.count("right")
    assert played(history).chance(0, len(history) + LAG + 1) == (1 / n if n >= 10 else 1)
    assert played(history).chance(1, len(history) + LAG + 1) == 1


def test_what_is_too_new_does_not_count_so_that_early_checkpoints_change_nothing():
    trust = played(["right"] * 12)
    assert trust.chance(0, 10 + LAG) == 1  # nine count
    assert trust.chance(0, 11 + LAG) == 1 / 10
    again = Trust(2, LAG)
    again.restore(trust.state())
    assert again.state() == trust.state()
    assert again.chance(0, 40) == trust.chance(0, 40) == 1 / 12


@pytest.mark.parametrize("kind", [EventKind.LIED, EventKind.WITHHELD, EventKind.EQUIVOCATED, EventKind.CONVICTED])
def test_any_error_is_the_end_of_trust_even_beside_a_right_result(kind):
    trust = played(["right"] * 30)
    trust.observe(31, {(0, 5)}, [Event(EventKind.AGREED, 31, 0, 5), Event(kind, 31, 0, 7)])
    assert trust.chance(0, 40) == 1


def test_who_is_trusted_is_seldom_audited_and_who_audits_none_has_a_file_of_its_own():
    chance = {0: 1.0, **dict.fromkeys(range(1, 20), 0.01)}
    scheme, audits = AuditedFiles(2, 7, lambda worker, step: chance[worker]), [0] * 20
    for step in range(1, 401):
        drawn = scheme.draw(step, range(20))
        checked = [holders[0] for holders in drawn.holders if len(holders) > 1]
        assert len(checked) <= 2
        assert len(drawn.holders) == 20 - len(checked)
        assert sorted({worker for worker, _ in drawn.edges}) == list(range(20))
        assert all(len(set(holders)) == len(holders) for holders in drawn.holders)
        for worker in checked:
            audits[worker] += 1
    assert audits[0] > 380  # seldom two others come first
    assert 20 < sum(audits[1:]) < 140  # 76 expected, less where two others were


def test_without_trust_the_draw_is_as_it_was():
    assert AuditedFiles(3, 5).draw(4, range(12)) == AuditedFiles(3, 5, None).draw(4, range(12))
    always = AuditedFiles(3, 5, lambda worker, step: 1.0).draw(4, range(12))
    assert sum(len(holders) > 1 for holders in always.holders) == 3


def test_audits_become_few_until_a_worker_errs_and_a_faulty_one_is_found(tmp_path):
    ranks, seed = list(range(1, 10)), 3
    trust = Trust(9, LATE_STEPS)
    workers, scheme = Workers(ranks), AuditedFiles(4, seed, trust.chance)
    model = GlobalModel(Line(), seed=0, steps=1000, arguments={"lr": 0.1})
    ledger, quarantine = Ledger(tmp_path / "ledger.jsonl", ranks, {}), GraphQuarantine(1)
    server = Server(
        workers.session, ranks, model, workers.codec, files=Files(9, 4, 1000, 0), scheme=scheme,
        create_ballot=VOTES["full"], aggregation=Aggregation(create_hierarchy("median"), scheme, None, 0),
        ledger=ledger, quarantine=quarantine, trust=trust, q=1, on_tie="drop",
    )  # fmt: skip
    honest = [record.copies for record in server.train(1, 100)]
    assert sum(honest[:8]) / 8 == pytest.approx(9 / 5)  # four auditors of nine workers
    assert sum(honest[-40:]) / 40 < 1.3
    workers.lies = {4: lambda vector: -vector}
    records = list(server.train(101, 400))
    ledger.close()
    assert list(quarantine.out) == [4]
    assert not any(record.skipped for record in records)
