import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detox.aggregators import AggregatorError, Share, shares
from detox.aggregators.stored import BLOCK, block_of

CASES = [(d, b, s) for d, b in ((11_173_962, 9_620), (43 * 2**18, 0), (11_010_112, 1)) for s in (1, 2, 3, 4, 7, 42)]
LONG = st.integers(24 * 2**15, 2 * 10**8)


@pytest.mark.parametrize(("d", "b", "servers"), [*CASES, (27_399_291, 1, 52)])
def test_shares_are_whole_blocks_one_behind_the_other_and_nearly_equal(servers, d, b):
    found, block = shares(d, b, servers), block_of(d)
    assert 2**15 <= block <= 1.5 * BLOCK + 16
    assert [share.begin for share in found] == [0, *(share.end for share in found[:-1])]
    assert found[-1].end == d + b
    assert all(share.begin % block == 0 for share in found)
    sizes = np.array([share.d for share in found])
    assert sizes.sum() == d
    assert sizes.max() - sizes.min() <= 2 * block
    assert np.ptp(sizes[:-1] if servers > 1 else sizes) <= block
    assert abs(sizes[-1] - d / servers) <= block / 2
    assert [share.b for share in found] == [0] * (servers - 1) + [b]


@pytest.mark.parametrize(("d", "most"), [(1, 1), (2**15 + 63, 1), (2**15 + 64, 2), (1_117_396, 24)])
def test_more_servers_than_blocks_are_refused_with_how_many_can_be(d, most):
    assert len(shares(d, 5, most)) == most
    with pytest.raises(AggregatorError, match=rf"servers = {most + 1}: .* d = {d} are enough for {most}$"):
        shares(d, 5, most + 1)


@given(LONG, st.sampled_from([2, 3, 4, 6, 8, 12]))
def test_the_usual_numbers_of_servers_have_shares_that_are_equal_to_a_percent(d, servers):
    assert max(share.d for share in shares(d, 0, servers)) <= 1.01 * d / servers


@given(st.integers(2**16, 2 * 10**8), st.integers(2, 256))
@example(766_187, 12)
@example(29_975_377, 104)
@example(604_576_841, 192)
def test_shares_differ_by_a_block_and_a_half_and_from_an_equal_one_by_a_block(d, servers):
    try:
        found = np.array([share.d for share in shares(d, 0, servers)])
    except AggregatorError:
        return  # more servers than blocks
    assert np.ptp(found) <= 1.5 * block_of(d)
    assert np.abs(found - d / servers).max() <= block_of(d)


@given(LONG)
def test_a_block_of_a_long_vector_is_half_to_one_and_a_half_times_as_wide_as_another(d):
    assert 2**15 <= block_of(d) <= 1.5 * BLOCK + 16
    assert block_of(d) % 16 == 0


def test_a_share_knows_what_of_it_is_gradient():
    assert (Share(8, 12, 10).d, Share(8, 12, 10).b) == (2, 2)
    assert np.arange(20)[Share(8, 12, 10).range].tolist() == [8, 9, 10, 11]
