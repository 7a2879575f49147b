import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.aggregators import create_hierarchy
from detox.assignment import SCHEMES
from detox.ps.aggregation import Aggregation
from detox.ps.attendance import Everyone
from detox.ps.contradictions import GraphQuarantine
from detox.ps.events import Event, EventKind, Trait, kinds
from detox.ps.ledger import Ledger
from detox.ps.offences import OffenceQuarantine
from detox.ps.roster import Roster

LAG = 8
EDGES = [(worker, worker // 3) for worker in range(9)]


def _events(step, *kinds_and_workers):
    return [Event(EventKind(kind), step, worker, 0) for kind, worker in kinds_and_workers]


def _check(quarantine, step, edges=EDGES):
    """The suspect of a step, whose file the PS then computes."""
    edge = quarantine.suspect(step, edges)
    if edge is None:
        return None
    assert edge in edges
    quarantine.checked(edge[0], step)
    return edge[0]


def _observed(policy, *events, after=3, window=10):
    quarantine = OffenceQuarantine(policy, after, window, LAG)
    for step, kind, worker in events:
        quarantine.observe(step, _events(step, (kind, worker)))
    return quarantine


DISSENTS = [(step, "dissented", 4) for step in (1, 2, 3)]


def test_never_is_never():
    assert _observed("never", *DISSENTS).due(3 + LAG + 1) == []


def test_dissents_suffice_under_majority_once_late_claims_are_in():
    quarantine = _observed("majority", *DISSENTS)
    assert quarantine.due(3 + LAG) == []
    assert quarantine.due(3 + LAG + 1) == [4]
    assert _check(quarantine, 3 + LAG + 1) is None


def test_dissents_alone_make_a_suspect_under_recompute_checked_once_in_a_while():
    quarantine = _observed("recompute", *DISSENTS)
    assert quarantine.due(12) == []
    assert [_check(quarantine, step) for step in (11, 12, 13)] == [None, 4, None]


@pytest.mark.parametrize("proof", [kind.value for kind in kinds(Trait.PROOF | Trait.OFFENCE)])
def test_with_a_proof_among_them_they_suffice(proof):
    quarantine = _observed("recompute", *DISSENTS[:2], (3, proof, 4))
    assert quarantine.due(12) == [4]


def test_who_is_cleared_is_no_suspect_until_it_dissents_as_often_again():
    quarantine = _observed("recompute", *DISSENTS, (4, "cleared", 4), (5, "dissented", 4), (6, "dissented", 4))
    assert [_check(quarantine, step) for step in range(13, 16)] == [None] * 3
    quarantine.observe(7, _events(7, ("dissented", 4)))
    assert _check(quarantine, 16) == 4


def test_a_proof_is_not_cleared():
    quarantine = _observed("recompute", (1, "lied", 4), (2, "lied", 4), (3, "lied", 4), (4, "cleared", 4))
    assert quarantine.due(13) == [4]


def test_one_conviction_is_followed_by_checks_until_there_are_enough():
    quarantine = _observed("recompute", (1, "convicted", 4))
    assert [_check(quarantine, step) for step in (10, 11, 12)] == [4, 4, 4]
    for step in (10, 11, 12):
        quarantine.observe(step, _events(step, ("convicted", 4)))
    assert quarantine.due(12 + LAG + 1) == [4]


def test_a_suspect_without_a_file_in_the_step_is_checked_in_one_where_it_has_one():
    quarantine = _observed("recompute", *DISSENTS)
    assert _check(quarantine, 12, [(0, 0), (1, 0)]) is None
    assert _check(quarantine, 13, [(0, 0), (4, 2), (4, 5)]) == 4


def test_under_never_nothing_is_kept():
    assert _observed("never", *DISSENTS).state()["events"] == {}


def test_offences_outside_the_window_are_forgotten():
    events = [(step, "dissented", 4) for step in (1, 6, 12)]
    assert _observed("majority", *events).due(12 + LAG + 1) == []
    assert _observed("majority", *events, window=12).due(12 + LAG + 1) == [4]


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from(["dissented", "lied", "cleared"]), st.integers(0, 3)),
        max_size=40,
    ),
    st.randoms(),
)
def test_neither_the_order_of_arrival_nor_a_checkpoint_changes_a_decision(events, random):
    shuffled = sorted(events, key=lambda event: (event[0] + random.randint(0, LAG), random.random()))
    one, other = _observed("recompute", *events), _observed("recompute", *shuffled)
    for step in range(1, 45):
        again = OffenceQuarantine("recompute", 3, 10, LAG)
        again.restore(other.state())
        other = again
        assert one.due(step) == other.due(step)
        assert _check(one, step) == _check(other, step)


def test_to_ask_for_the_suspect_changes_nothing():
    quarantine = _observed("recompute", *DISSENTS)
    assert quarantine.suspect(12, EDGES) == quarantine.suspect(12, EDGES) == (4, 1)


@pytest.mark.parametrize(("policy", "proven"), [("majority", 0), ("recompute", 1)])
def test_only_a_policy_that_takes_a_proof_proves_anybody(policy, proven):
    quarantine = OffenceQuarantine(policy, 3, 5, LAG)
    quarantine.leave_out(4, 9)
    assert quarantine.proven == proven


def contradiction(step, worker, *others):
    return Event(EventKind.DISSENTED, step, worker, 0, others=others)


def test_by_the_graph_a_worker_is_due_that_contradicts_more_than_can_lie():
    quarantine = GraphQuarantine(q=2)
    quarantine.observe(1, [contradiction(1, 4, 0, 1)])
    assert quarantine.due(3) == []
    quarantine.observe(2, [contradiction(2, 4, 7)])
    assert quarantine.due(4) == [4]
    assert quarantine.proof(4, 4).others == (0, 1, 7)
    quarantine.leave_out(4, 4)
    assert (quarantine.due(4), quarantine.proven) == ([], 1)


def test_by_the_graph_who_contradicts_itself_is_due_without_neighbours():
    quarantine = GraphQuarantine(q=2)
    quarantine.observe(1, [Event(EventKind.LIED, 1, 5, 0)])
    assert quarantine.due(3) == [5]
    assert quarantine.proof(5, 3) is None


def test_by_the_graph_a_state_is_restored_with_all_that_follows():
    quarantine, again = GraphQuarantine(q=1, window=4), GraphQuarantine(q=1, window=4)
    quarantine.observe(1, [contradiction(1, 4, 0, 1)])
    quarantine.leave_out(4, 3)
    again.restore(quarantine.state())
    assert (again.out, again.due(3), again.exceeded(3)) == (quarantine.out, [], "")
    again.spare(4)
    assert again.due(3) == [4]
    assert again.due(9) == []


@pytest.mark.parametrize(("window", "proven"), [(None, 1), (4, 0)])
def test_where_faults_pass_q_stays_for_others_may_be_wrong_later(window, proven):
    quarantine = GraphQuarantine(q=1, window=window)
    quarantine.leave_out(4, 9)
    assert quarantine.proven == proven


def test_q_falls_to_no_less_than_must_be_left_where_more_are_byzantine(tmp_path):
    quarantine, scheme = GraphQuarantine(q=2), SCHEMES["redrawn"](3, 1)
    ledger = Ledger(tmp_path / "ledger.jsonl", [1] * 30, {})
    aggregation = Aggregation(create_hierarchy("median"), scheme, None, 0)
    roster = Roster(
        30, 2, scheme=scheme, aggregation=aggregation, quarantine=quarantine, ledger=ledger, attendance=Everyone()
    )
    quarantine.observe(1, [contradiction(1, 4, 0, 1, 2)])
    roster.judge(3)
    assert (list(quarantine.out), roster.q) == ([4], 1)
    quarantine.observe(3, [contradiction(3, 10, 11), contradiction(3, 12, 13)])  # two more, of at most one
    events = roster.judge(5)
    ledger.close()
    assert (events, roster.q) == ([], 2)
    assert quarantine.exceeded(5)
    assert aggregation.bad_votes(9, roster.q) == 1
