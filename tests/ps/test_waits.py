"""What a step's waiting was for: by the clock of the PS, and by what workers say that computing took."""

import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.stopwatch import WAITS, Stopwatch
from detox.wire import Computed, WireError


def test_waiting_is_split_by_the_last_that_computed_before_all_agreed():
    now = 0.0
    watch = Stopwatch(lambda: now)
    with watch.part("transfer"):
        now = 1.0
    now = 4.0
    watch.computed(0.5, 0.5)
    now = 6.0
    watch.computed(1.5, 2.25)  # its rank had computed for another worker before
    now = 6.25
    watch.agree()
    now = 8.0
    watch.computed(3.0, 3.0)  # nobody waits for it
    watch.agree()
    now = 10.25
    assert watch.waits() == {"weights": 2.75, "compute": 2.25, "claims": 0.25, "fetch": 4.0}
    assert watch.computing() == {"median": 1.5, "slowest": 3.0}


def test_without_claims_all_behind_the_last_that_computed_is_the_gradients_way():
    now = 0.0
    watch = Stopwatch(lambda: now)
    now = 2.0
    watch.computed(1e9, 1e9)  # it cannot have computed longer than the step takes
    now = 5.0
    assert watch.waits() == {"weights": 0.0, "compute": 2.0, "claims": 0.0, "fetch": 3.0}
    assert watch.computing() == {"median": 2.0, "slowest": 2.0}


@given(st.lists(st.tuples(st.floats(0, 10), st.sampled_from(["computed", "agree", "part"]), st.floats(0, 1e6))))
def test_the_parts_of_waiting_add_up_to_it_and_none_is_negative(events):
    now = 0.0
    watch = Stopwatch(lambda: now)
    for later, what, seconds in events:
        if what == "part":
            with watch.part("transfer"):
                now += later
        else:
            now += later
            watch.agree() if what == "agree" else watch.computed(seconds, 2 * seconds)
    assert sum(watch.waits().values()) == pytest.approx(watch.read()["wait"], abs=1e-9)
    assert all(seconds >= 0 for seconds in watch.waits().values())


@pytest.mark.parametrize("seconds", [(-1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (1.0, float("nan")), (1.0, inf)])
def test_what_are_no_numbers_of_seconds_is_no_message(seconds):
    with pytest.raises(WireError, match="no numbers of seconds"):
        Computed.unpack(Computed(*seconds).pack())
    with pytest.raises(WireError, match="no numbers of seconds"):
        Computed.unpack(b"12345")
    assert Computed.unpack(Computed(0.25, 0.5).pack()) == Computed(0.25, 0.5)


@pytest.mark.parametrize("vote", ["digest", "full"])
def test_a_run_says_what_it_waited_for(here, vote):
    job = here.start("--q", "0", "--steps", "3", "--vote", vote)
    assert job.status == 0, job.text
    for line in map(json.loads, (job.run / "metrics.jsonl").read_text().splitlines()):
        assert line["waits"].keys() == set(WAITS)
        assert sum(line["waits"].values()) == pytest.approx(line["seconds"]["wait"], abs=1e-9)
        assert line["computing"].keys() == {"median", "slowest"}
    assert all(counts == {"agreed": 3} for counts in job.summary["ledger"])
