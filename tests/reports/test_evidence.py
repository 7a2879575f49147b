from fractions import Fraction
from itertools import accumulate, combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detox.assignment.schemes import AuditedFiles, RedrawnGroups
from detox.ps.ballots import Tally
from detox.reports.evidence import find, judge, outvoted, outvoted_in_audits, pattern_of, suspicious


@pytest.mark.parametrize(
    ("p", "q", "r"), [(9, 3, 3), (9, 1, 3), (9, 8, 3), (10, 4, 5), (7, 3, 7), (6, 2, 1), (3, 3, 3)]
)
def test_the_chance_to_be_outvoted_is_the_share_of_groups_with_a_bad_majority(p, q, r):
    byzantine = set(range(1, 1 + q))  # worker 0 is honest
    groups = list(combinations(range(1, p), r - 1))
    lost = sum(2 * len(byzantine & set(fellows)) > r for fellows in groups)
    assert outvoted(p, q, r, redrawn=True) == pytest.approx(lost / len(groups))


def test_in_groups_that_stay_an_honest_worker_may_be_outvoted_always_or_never():
    assert outvoted(15, 2, 3, redrawn=False) == 1.0
    assert outvoted(15, 1, 3, redrawn=False) == 0.0
    assert outvoted(15, 2, 5, redrawn=False) == 0.0


@pytest.mark.parametrize(("p", "q", "auditors"), [(7, 3, 1), (7, 3, 3), (9, 8, 4), (15, 2, 2), (15, 1, 2)])
def test_the_chance_to_lose_an_audit_bounds_that_of_drawn_audits_closely(p, q, auditors):
    steps, byzantine, lost = 3000, set(range(1, 1 + q)), 0  # worker 0 is honest
    scheme = AuditedFiles(auditors, seed=5)
    for step in range(steps):
        holders = scheme.draw(step, range(p)).holders
        lost += any(0 in of_one and len(byzantine.intersection(of_one)) == 2 for of_one in holders)
    found = outvoted_in_audits(p, q, auditors, uniform=True)
    assert lost / steps <= found + 4 * (found / steps) ** 0.5
    assert found <= min(1.0, 1.6 * lost / steps + 0.002)
    assert outvoted_in_audits(p, q, auditors, uniform=False) == (q > 1)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 150), percent=st.integers(0, 100))
def test_the_threshold_is_the_least_with_an_exact_binomial_tail_below_1e_9(n, percent):
    chance = Fraction(percent, 100)
    tails = accumulate(comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(n, 0, -1))
    assert suspicious(n, percent / 100) == n + 1 - sum(tail < Fraction(1, 10**9) for tail in tails)


def test_the_threshold_of_a_long_run_does_not_overflow():
    assert 1000 < suspicious(100_000, 0.0106) < 1500


@pytest.mark.parametrize(
    ("offences", "end", "pattern"),
    [
        ([], 100, ""),
        ([7], 100, "transient"),
        ([100], 100, "transient"),
        ([7, 7, 7, 7], 100, "transient"),
        ([10, 50, 90], 100, "transient"),
        ([10, 11, 12], 100, "transient"),
        ([10, 11, 12], 12, "persistent"),
        ([10, 30, 50, 70], 100, "intermittent"),
        (range(41, 101), 100, "persistent"),
        (range(40, 101, 2), 100, "persistent"),
        (range(40, 102, 2), 102, "intermittent"),
        (range(1, 41), 100, "intermittent"),
        ([5, 6, 9], 4, "persistent"),
    ],
)
def test_patterns_are_told_by_the_share_of_steps_since_the_first_offence(offences, end, pattern):
    assert pattern_of(offences, end) == pattern


@pytest.mark.parametrize("kind", ["convicted", "lied", "equivocated", "proven"])
def test_one_contradiction_is_a_proof_whatever_the_chance(kind):
    assert judge({kind: [5]}, 100, chance=1.0) == "proven"


def test_dissents_make_suspect_from_the_threshold_on_and_a_step_counts_once():
    least = suspicious(100, 0.03)
    assert judge({"dissented": range(least)}, 100, 0.03) == "suspect"
    assert judge({"dissented": [*range(least - 1)] * 2}, 100, 0.03) == "no proof"


def test_dissents_alone_suspect_nobody_in_fixed_groups_that_may_be_byzantine():
    assert judge({"dissented": range(1, 101)}, 100, outvoted(15, 2, 3, redrawn=False)) == "no proof"
    assert judge({"dissented": [17]}, 100, outvoted(15, 1, 3, redrawn=False)) == "suspect"


def test_entries_ahead_of_the_steps_made_suspect_nobody():
    assert judge({"dissented": range(1, 110)}, 100, chance=1.0) == "no proof"


def test_who_is_dead_or_silent_for_long_is_absent_unless_it_lied_before():
    assert judge({"dead": [60]}, 100, 0.01) == "absent"
    assert judge({"silent": range(60, 101)}, 100, 0.01) == "absent"
    assert judge({"silent": [60]}, 100, 0.01) == "no proof"
    assert judge({"dead": [60], "dissented": range(1, 60)}, 100, 0.01) == "suspect"


def test_other_entries_prove_nothing():
    others = dict.fromkeys(["undecided", "withheld", "nonfinite", "malformed", "late", "quarantined"], range(1, 101))
    assert judge(others, 100, 0.0) == "no proof"


def _votes(p, r, byzantine, steps, seed):
    """Entries of a run in which the Byzantine workers collude in every step."""
    for step in range(1, steps + 1):
        for group in RedrawnGroups(r, seed).draw(step, range(p)).holders:
            ballot = Tally(group)
            for worker in group:
                ballot.claim(worker, "lie" if worker in byzantine else "gradient")
            for worker in group:
                kind = ballot.says_of(worker).value
                if kind != "agreed":
                    yield {"step": step, "kind": kind, "worker": worker, "rank": 1, "host": "h"}


@pytest.mark.parametrize("seed", range(3))
def test_redrawn_groups_find_all_five_byzantine_workers_of_45_and_no_honest_one(seed):
    byzantine = set(np.random.default_rng(seed).choice(45, 5, replace=False).tolist())
    findings = find(_votes(45, 3, byzantine, 1000, seed), 1000, outvoted(45, 5, 3, redrawn=True))
    assert {finding.worker for finding in findings if finding.verdict == "suspect"} == byzantine
    assert {finding.pattern for finding in findings if finding.worker in byzantine} == {"persistent"}
    assert any(finding.counts["dissented"] for finding in findings if finding.worker not in byzantine)


def _entry(step, kind, worker=0, rank=1, **more):
    return {"step": step, "kind": kind, "worker": worker, "rank": rank, "host": f"h{rank}", **more}


def test_agreement_is_what_remains_of_the_steps_before_quarantine():
    entries = [_entry(s, "dissented") for s in (2, 3)] + [_entry(4, "undecided"), _entry(4, "late")]
    entries += [_entry(8, "quarantined", detail="why"), _entry(9, "late")]
    (finding,) = find(entries, 20, 1.0)
    assert finding.counts == {"late": 2, "undecided": 1, "dissented": 2, "agreed": 4}
    assert (finding.quarantined, finding.why, finding.dead) == (8, "why", None)
    assert (finding.first, finding.last) == (2, 9)


def test_a_group_without_majority_is_no_offence_of_its_members():
    (finding,) = find([_entry(3, "undecided")], 20, 0.0)
    assert (finding.first, finding.last, finding.pattern, finding.verdict) == (None, None, "", "no proof")


def test_the_worst_come_first():
    entries = [_entry(1, "late", 0), _entry(1, "dead", 1), _entry(1, "late", 2), _entry(2, "late", 2)]
    entries += [_entry(1, "lied", 3), _entry(1, "convicted", 4), _entry(1, "dissented", 5)]
    found = [finding.worker for finding in find(entries, 20, 0.0)]
    assert found == [4, 3, 5, 1, 2, 0]


def test_the_step_in_which_a_worker_is_proven_is_none_in_which_it_offended():
    (finding,) = find([_entry(2, "dissented"), _entry(9, "proven", others=[1, 2]), _entry(9, "quarantined")], 20, 0.0)
    assert (finding.verdict, finding.first, finding.last) == ("proven", 2, 2)
    assert finding.counts == {"dissented": 1, "agreed": 7}


def test_what_is_known_of_a_rank_only_is_a_finding_of_its_own():
    entries = [_entry(1, "malformed", None, 2), _entry(1, "malformed", None, 3), _entry(1, "malformed", 0, 2)]
    found = {(f.worker, f.rank): f.counts for f in find(entries, 5, 0.0)}
    assert found == {
        (0, 2): {"malformed": 1, "agreed": 5},
        (None, 2): {"malformed": 1},
        (None, 3): {"malformed": 1},
    }
