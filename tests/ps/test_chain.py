import json

import numpy as np
import pytest
import torch
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from detox.ps.chain import Chain, ChainError, Link, digest_of_update, digests_of_votes, read_chain
from detox.wire import claim_of

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
LINKS = st.lists(
    st.builds(Link, st.just(0), HEX, st.lists(HEX | st.none()).map(tuple), st.integers(0, 9), HEX | st.none()),
    min_size=1, max_size=5,
).map(lambda links: [Link(step, *(getattr(link, name) for name in ("weights", "votes", "f", "update")))
                     for step, link in enumerate(links, 1)])  # fmt: skip
THREE = [Link(step, f"{step:032x}", ("a" * 32, None), 1, None if step == 2 else "b" * 32) for step in (1, 2, 3)]


def _written(path, links, every=1):
    path.unlink(missing_ok=True)
    for link in links:  # each as by a job of its own
        chain = Chain(path, every)
        if chain.takes(link.step):
            chain.add(link)
    return Chain(path, every).end


@given(LINKS)
def test_what_is_written_is_read_and_its_end_is_made_of_all_that_is_in_it(tmp_path_factory, links):
    path = tmp_path_factory.mktemp("chain") / "chain.jsonl"
    end = _written(path, links)
    read = list(read_chain(path))
    assert [link for link, _ in read] == links
    assert read[-1][1] == end
    value = ""
    for link in links:
        facts = {name: getattr(link, name) for name in ("f", "step", "update", "votes", "weights")}
        value = blake3((value + json.dumps(facts)).encode()).hexdigest()[:32]
    assert value == end


@pytest.mark.parametrize("change", [
    lambda lines: lines[:1] + lines[2:],
    lambda lines: [lines[1], lines[0], lines[2]],
    lambda lines: [lines[0].replace(b"aaaa", b"aaac", 1), *lines[1:]],
    lambda lines: [lines[0], lines[1].replace(b"null", b'"x"', 1), lines[2]],
    lambda lines: [lines[0], b"[]", lines[2]],
    lambda lines: [lines[0], b"{}", lines[2]],
    lambda lines: [*lines, lines[2]],
])  # fmt: skip
def test_a_line_that_is_changed_moved_or_gone_is_found(tmp_path, change):
    path = tmp_path / "chain.jsonl"
    _written(path, THREE)
    path.write_bytes(b"\n".join(change(path.read_bytes().splitlines())) + b"\n")
    with pytest.raises(ChainError, match=r"line \d"):
        list(read_chain(path))


def test_a_last_line_that_is_half_written_is_left_out(tmp_path):
    path = tmp_path / "chain.jsonl"
    _written(path, THREE)
    path.write_bytes(path.read_bytes()[:-40])
    assert [link for link, _ in read_chain(path)] == THREE[:2]


def test_a_chain_goes_on_behind_the_last_whole_line(tmp_path):
    path = tmp_path / "chain.jsonl"
    _written(path, THREE)
    whole = path.read_bytes()
    for torn in (len(whole) - 40, len(whole.splitlines()[0]) // 2, len(whole) - 1):
        path.write_bytes(whole[:torn])
        before = [link for link, _ in read_chain(path)]
        Chain(path, 1).add(Link(9, "d" * 32, (), 0, None))
        assert [link for link, _ in read_chain(path)] == [*before, Link(9, "d" * 32, (), 0, None)]


@pytest.mark.parametrize("line", [b'{"step": 1}', b"[]", b'{"chain": "a"}'])
def test_nothing_is_linked_to_what_is_no_chain(tmp_path, line):
    path = tmp_path / "chain.jsonl"
    _written(path, THREE)
    path.write_bytes(content := line + b"\n" + path.read_bytes())
    with pytest.raises(ChainError, match="line 1 is no link of a chain: move the file away"):
        Chain(path, 1)
    assert path.read_bytes() == content


def test_steps_may_be_left_out(tmp_path):
    links = [Link(step, "c" * 32, (), 0, None) for step in range(1, 9)]
    _written(tmp_path / "chain.jsonl", links, every=3)
    assert [link.step for link, _ in read_chain(tmp_path / "chain.jsonl")] == [1, 4, 7]
    assert not Chain(tmp_path / "none.jsonl", 0).takes(1)


def test_digests_are_of_what_was_claimed_and_of_bits():
    votes = np.random.default_rng(0).standard_normal((2, 70000)).astype(np.float32)
    claims = [claim_of(votes[0]), None, claim_of(votes[1])]
    expected = (claims[0].hex()[:32], None, claims[2].hex()[:32])
    assert digests_of_votes(claims, votes) == digests_of_votes([0, None, 3], votes) == expected
    update = votes[0]
    assert digest_of_update(update) == digest_of_update(torch.from_numpy(update))
    assert digest_of_update(update) != digest_of_update(votes[1])
