"""CodedReduce: the tree of ranks, its loads, and sums that are right whoever is missing."""

from fractions import Fraction
from functools import partial
from itertools import product

import numpy as np
import pytest

from detox.errors import JobError
from detox.wire import Kind, claim_of
from detox.wire.memory import Network


@pytest.fixture
def coded(script):
    return script("experiments.coded_tree")


@pytest.fixture
def job(script):
    return script("experiments.coded_reduce")


def one_hot(points, size):
    """The sum of gradients that say which point they are of."""
    vector = np.zeros(size, np.float32)
    vector[points] = 1
    return vector


def at_the_root(coded, tree, sums, missing):
    """The sum of all gradients where some nodes never answer; None where there is none."""

    def up(node, own):
        gather = coded.Gather(tree.blocks(node), sums[1].size, digests=False)
        for child in sum(gather.blocks, ()):
            if child not in missing and (answer := up(child, sums[child])) is not None:
                gather.take(child, answer.tobytes())
        return gather.total(own) if gather.complete else None

    return up(0, np.zeros_like(sums[1]))


@pytest.mark.parametrize(("n", "layers", "s"), [(4, 2, 1), (6, 2, 2), (12, 2, 2), (12, 2, 5), (4, 3, 1), (15, 1, 2)])
def test_each_worker_computes_the_share_of_the_formula(coded, n, layers, s):
    tree = coded.Tree(n, layers, s)
    beta = Fraction(n, s + 1)
    assert tree.load == 1 / sum(beta**layer for layer in range(1, layers + 1))
    points = 3 * tree.parts
    assert {len(tree.own(node, points)) for node in range(1, tree.workers + 1)} == {points * tree.load}


def test_the_loads_are_the_papers(coded):
    assert coded.Tree(12, 2, 2).workers == 156
    assert float(coded.Tree(12, 2, 2).load) == pytest.approx(0.050)
    assert float(coded.Tree(12, 2, 5).load) == pytest.approx(0.167, abs=1e-3)


def test_sums_are_right_for_every_pattern_of_stragglers(coded):
    tree = coded.Tree(4, 2, 1)
    points = tree.parts
    sums = {node: one_hot(tree.own(node, points), points) for node in range(1, tree.workers + 1)}
    children = [[0, *sum(tree.blocks(parent), ())] for parent in range(5)]
    for missing in product(*children):  # of each parent one child, or none
        assert at_the_root(coded, tree, sums, set(missing)).tolist() == [1] * points


def test_one_straggler_of_each_block_is_none_too_many(coded):
    tree = coded.Tree(4, 2, 1)
    sums = {node: one_hot(tree.own(node, 6), 6) for node in range(1, tree.workers + 1)}
    blocks = [block for parent in range(5) for block in tree.blocks(parent)]
    for missing in product((0, 1), repeat=len(blocks)):
        out = {block[index] for block, index in zip(blocks, missing, strict=True)}
        assert at_the_root(coded, tree, sums, out).tolist() == [1] * 6
    for block in tree.blocks(0):
        assert at_the_root(coded, tree, sums, set(block)) is None


def test_members_of_a_block_have_equal_bits(coded):
    tree = coded.Tree(6, 2, 2)
    gradients = np.random.default_rng(1).standard_normal((24, 5)).astype(np.float32)
    sums = {node: gradients[list(tree.own(node, 24))].sum(0) for node in range(1, tree.workers + 1)}
    for block in tree.blocks(0):
        answers = set()
        for node, which in product(block, range(3)):  # whichever child of each block is first
            gather = coded.Gather(tree.blocks(node), sums[1].size, digests=False)
            for children in gather.blocks:
                gather.take(children[which], sums[children[which]].tobytes())
            answers.add(gather.total(sums[node]).tobytes())
        assert len(answers) == 1


def test_a_tree_that_there_is_not_is_refused_in_words(coded):
    with pytest.raises(coded.TreeError, match=r"n = 5 children cannot be split into blocks of s \+ 1 = 2; take n = 4"):
        coded.Tree(5, 2, 1)
    with pytest.raises(coded.TreeError, match="7 points cannot be split into 6 equal parts"):
        coded.Tree(4, 2, 1).own(1, 7)
    with pytest.raises(coded.TreeError, match="takes 1, 1 and 0 or more"):
        coded.Tree(4, 0, 1)


def test_a_sum_that_is_not_as_claimed_is_fetched_from_the_next_of_the_majority(coded):
    right, wrong = np.ones(3, np.float32), np.zeros(3, np.float32)
    gather = coded.Gather([(1, 2, 3)], 3, digests=True)
    gather.claim(1, claim_of(right))
    assert gather.wanted(0.0) == []
    gather.claim(2, claim_of(wrong))
    gather.claim(2, claim_of(right))  # the first one counts
    gather.claim(3, claim_of(right))
    assert gather.wanted(0.0) == [1]
    gather.take(3, wrong.tobytes())  # was not asked
    gather.take(1, wrong.tobytes())
    assert not gather.complete
    assert gather.wanted(0.0) == [3]
    gather.take(3, right.tobytes())
    assert gather.complete
    assert gather.total(right).tolist() == [2, 2, 2]


@pytest.mark.parametrize("payload", [b"abc", b"", bytes(4), bytes(16)])
@pytest.mark.parametrize("digests", [False, True])
def test_a_sum_of_another_length_is_none(coded, digests, payload):
    right = np.ones(3, np.float32)
    gather = coded.Gather([(1, 2, 3)], 3, digests=digests)
    for child in (1, 2, 3):
        gather.claim(child, claim_of(right))
    gather.wanted(0.0)
    gather.take(1, payload)
    assert not gather.complete
    assert gather.wanted(0.0) == ([2] if digests else [])
    gather.take(2, right.tobytes())
    assert gather.total(right).tolist() == [2, 2, 2]


def test_whoever_claims_right_and_delivers_nothing_is_passed_over(coded):
    right = np.ones(3, np.float32)
    gather = coded.Gather([(1, 2, 3)], 3, digests=True, patience=5.0)
    for child in (1, 2, 3):
        gather.claim(child, claim_of(right))
    assert [gather.wanted(now) for now in (0.0, 4.9, 5.0, 9.9)] == [[1], [], [2], []]
    gather.take(1, right.tobytes())  # late, and right
    assert gather.complete
    assert gather.wanted(20.0) == []


def run(job, tree, digests, steps=2, lies=(), slow=(), silent=(), withhold=()):
    """A job in one process; the sums of its steps, weights being the step's number."""
    network, d, points = Network(), 4, 2 * tree.parts
    nodes = []
    for rank in range(1, tree.workers + 1):
        session = network.session(rank, [tree.parent(rank), *sum(tree.blocks(rank), ())])
        own, lie = tree.own(rank, points), job.reversed_sum if rank in lies else None
        gradient = job.least_squares(own, d)
        node = job.Node(
            session, tree, rank, d, gradient, digests, lambda step, rank=rank: 1.0 + 3.0 * (rank in slow), lie
        )
        nodes.append(node)
        if rank in withhold:
            node.take = partial(but_for_fetches, node.take)
        if rank not in silent:
            network.actors += [lambda session=session, node=node: session.turn(node.take), node.work]
    root = job.Root(network.session(0, sum(tree.blocks(0), ())), tree, d, digests, deadline=60)
    found = [root.step(step, np.full(d, step, np.float32)) for step in range(1, steps + 1)]
    ended = network.now
    root.dismiss()
    assert all(node.over for rank, node in enumerate(nodes, 1) if rank not in silent)
    return found, ended


def but_for_fetches(take, message):
    if message.header is None or message.header.kind != Kind.FETCH:
        take(message)


@pytest.mark.parametrize(("shape", "digests"), [((4, 2, 1), False), ((6, 1, 2), True), ((3, 2, 2), True)])
def test_steps_have_the_sum_of_all_gradients_and_stragglers_change_no_bit(coded, job, shape, digests):
    tree = coded.Tree(*shape)
    whole = job.least_squares(range(2 * tree.parts), 4)
    found, ended = run(job, tree, digests)
    for step, total in enumerate(found, 1):
        assert np.allclose(total, whole(np.full(4, step, np.float32)), rtol=1e-5)
    late, later = run(job, tree, digests, slow={1})
    assert [total.tobytes() for total in late] == [total.tobytes() for total in found]
    assert later == pytest.approx(ended)


def test_with_digests_one_byzantine_child_of_each_block_of_three_changes_no_bit(coded, job):
    tree = coded.Tree(3, 2, 2)
    honest, _ = run(job, tree, digests=True)
    attacked, _ = run(job, tree, digests=True, lies={2, 6, 7, 12})
    assert [total.tobytes() for total in attacked] == [total.tobytes() for total in honest]
    withheld, _ = run(job, tree, digests=True, withhold={1, 4, 7, 10})
    assert [total.tobytes() for total in withheld] == [total.tobytes() for total in honest]
    spoiled, _ = run(job, tree, digests=True, lies={1, 2})
    assert spoiled[0].tobytes() != honest[0].tobytes()


def test_more_stragglers_than_a_block_can_do_without_are_said_in_words(coded, job):
    with pytest.raises(JobError, match=r"no sum from children 3, 4: a block can do without s = 1 of its 2"):
        run(job, coded.Tree(4, 2, 1), digests=False, silent={3, 4})
    with pytest.raises(JobError, match=r"no sum from children 1, 2, 3: 2 of a block's 3 have to claim the same sum"):
        run(job, coded.Tree(3, 1, 2), digests=True, silent={1, 3})
