import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.ballots import Outcome, Tally
from detox.ps.events import EventKind

# Groups of 1, 3, 5 or 7; each member claims one of a few values, or None for silence.
GROUPS = st.sampled_from([1, 3, 5, 7]).flatmap(
    lambda r: st.lists(st.sampled_from(["a", "b", "c", None]), min_size=r, max_size=r)
)


def _tally(values, order=None):
    tally = Tally(range(len(values)))
    for worker in order if order is not None else range(len(values)):
        if values[worker] is not None:
            tally.claim(worker, values[worker])
    return tally


def _naive_majority(values):
    """The definition: the value that more than half of all members claim."""
    for value in {v for v in values if v is not None}:
        if sum(v == value for v in values) > len(values) / 2:
            return value
    return None


@given(GROUPS)
def test_the_majority_is_the_definition(values):
    assert _tally(values).majority == _naive_majority(values)


@given(GROUPS.flatmap(lambda v: st.tuples(st.just(v), st.permutations(range(len(v))))))
def test_the_order_of_arrival_changes_nothing(case):
    values, order = case
    one, other = _tally(values), _tally(values, order)
    assert (one.majority, one.outcome) == (other.majority, other.outcome)
    assert [one.says_of(w) for w in one.holders] == [other.says_of(w) for w in other.holders]


@given(GROUPS)
def test_hopeless_means_that_no_completion_has_a_majority(values):
    tally = _tally(values)
    silent = [w for w, v in enumerate(values) if v is None]
    completions = []
    for filled in itertools.product(["a", "b", "c", "new"], repeat=len(silent)):
        full = list(values)
        for worker, value in zip(silent, filled, strict=True):
            full[worker] = value
        completions.append(_naive_majority(full))
    assert tally.hopeless() == all(m is None for m in completions)
    assert tally.hopeless(gone=set(silent)) == (_naive_majority(values) is None)


@given(GROUPS)
def test_verdicts_blame_only_against_a_strict_majority(values):
    tally, majority = _tally(values), _naive_majority(values)
    for worker, value in enumerate(values):
        verdict = tally.says_of(worker)
        if value is None:
            assert verdict == EventKind.SILENT
        elif majority is None:
            assert verdict == EventKind.UNDECIDED
        else:
            assert verdict == (EventKind.AGREED if value == majority else EventKind.DISSENTED)


@given(GROUPS)
def test_outcomes_are_counted_over_all_members(values):
    support = max(Counter(v for v in values if v is not None).values(), default=0)
    if 2 * support <= len(values):
        expected = Outcome.NONE
    else:
        expected = Outcome.UNANIMOUS if support == len(values) else Outcome.MAJORITY
    assert _tally(values).outcome == expected


def test_three_different_claims_are_no_majority():
    # The released code's Boyer-Moore vote without a second pass returned the last of them.
    tally = _tally(["honest", "b1", "b2"])
    assert tally.majority is None
    assert tally.supporters == []
    assert tally.outcome == Outcome.NONE


@pytest.mark.parametrize("again", ["a", "b"])
def test_the_first_claim_stands(again):
    tally = Tally([0, 1, 2])
    tally.claim(0, "a")
    with pytest.raises(ValueError, match="claimed before"):
        tally.claim(0, again)
    assert tally.claims == {0: "a"}


@pytest.mark.parametrize("r", [1, 3])
def test_a_claim_that_is_none_agrees_with_nobody(r):
    tally = Tally(range(r))
    for worker in range(r):
        tally.claim(worker, None)
    assert tally.majority is None
    assert tally.hopeless()
    assert tally.outcome == Outcome.NONE
    assert {tally.says_of(worker) for worker in range(r)} == {EventKind.UNDECIDED}
