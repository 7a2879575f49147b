"""Votes that several owners have between them, by columns: the bits are those of one owner of all."""

from itertools import pairwise
from threading import Barrier, Thread

import numpy as np
import pytest

from detox.aggregators import PAIRS, PREAGGREGATORS, RULES, Hierarchy, create_hierarchy
from detox.aggregators.shares import NARROWEST
from detox.aggregators.stored import block_of
from detox.errors import JobError

N, D = 15, 2**20 - 1000
BLOCK, NARROW = block_of(D), block_of(1)


class Shared:
    """What owners in threads of one process gather; each waits for all others."""

    def __init__(self, owners):
        self.parts = [None] * owners
        self.barrier = Barrier(owners, timeout=60)


class Owner:
    def __init__(self, shared, index, begin, width):
        self.shared, self.index, self.begin, self.width = shared, index, begin, width

    def gather(self, part):
        self.shared.parts[self.index] = part
        self.shared.barrier.wait()
        whole = np.concatenate(self.shared.parts)
        self.shared.barrier.wait()
        return whole


def by_owners(hierarchy, x, borders, **options):
    """What the owners of the columns between these borders come to, one behind the other."""
    shared, results = Shared(len(borders) - 1), {}

    def run(index, begin, end):
        owner, given = Owner(shared, index, begin, borders[-1]), dict(options)
        if "previous" in given:
            given["previous"] = given["previous"][begin:end]
        try:
            results[index] = hierarchy(x[:, begin:end].copy(), rng=np.random.default_rng(5), owners=owner, **given)
        except BaseException:
            shared.barrier.abort()
            raise

    threads = [Thread(target=run, args=(i, *ends)) for i, ends in enumerate(pairwise(borders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.concatenate([results[index] for index in sorted(results)])


@pytest.fixture(scope="module")
def votes():
    """Votes with two hostile ones, and some so near to each other that float32 products cannot tell."""
    x = np.random.default_rng(3).normal(1, 1e-3, size=(N, D)).astype(np.float32)
    x[6, D - 3] = np.nan
    x[1] *= 1e4
    return x


STAGES = {
    **{name: Hierarchy(name) for name in RULES},
    **{name: Hierarchy("median", pre=[name]) for name in PREAGGREGATORS},
    **PAIRS,
    "draco": create_hierarchy("draco"),
    "every kind of sum": Hierarchy("geometric_median", "centered_clipping", k=5, pre=["arc", "nnm"]),
    "coordinates alone": Hierarchy("median_of_means", options={"median_of_means": {"centre": "coordinatewise"}}),
}


CUTS = [
    [[0, 6 * BLOCK, D], [0, BLOCK, 2 * BLOCK, D], [0, 5 * BLOCK, 7 * BLOCK, 13 * BLOCK, D], [0, 23 * BLOCK, D]],
    [[0, NARROW, NARROW + 1000]],  # fewer than are worth the kernels of one owner
    [[0, NARROW, NARROW + NARROWEST]],
]


@pytest.mark.parametrize("cuts", CUTS, ids=lambda cuts: f"d={cuts[0][-1]}")
@pytest.mark.parametrize("name", STAGES)
def test_bits_do_not_depend_on_how_many_own_the_columns(name, cuts, votes):
    hierarchy, d = STAGES[name], cuts[0][-1]
    honest = name in ("mean", "draco")
    x, f = (votes[[0, 2, 3, 4, 5]], 0) if honest else (votes, 2)
    x = x[:, -d:]
    options = {"f": f, "previous": np.full(d, 0.5, np.float32)} if hierarchy.uses("previous") else {"f": f}
    expected = hierarchy(x, rng=np.random.default_rng(5), **options)
    assert np.isfinite(expected).all() or name == "sign_majority"
    for borders in cuts:
        found = by_owners(hierarchy, x, borders, **options)
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


class Failing:
    """Owners whose parts cannot be gathered."""

    begin, width, asked = 0, D, 0

    def __init__(self, error):
        self.error = error

    def gather(self, part):
        self.asked += 1
        raise self.error


@pytest.mark.parametrize("error", [JobError("an owner is lost"), OSError(28, "the disk is full"), ValueError("x")])
def test_what_fails_in_a_gather_is_told_at_once_and_is_no_fault_of_the_kernels(votes, error):
    owners = Failing(error)
    with pytest.raises(type(error), match=str(error.args[-1])):
        Hierarchy("multi_krum")(votes[:, :BLOCK], f=2, rng=np.random.default_rng(5), owners=owners)
    assert owners.asked == 1
