"""Whole jobs whose ranks compute several files in a call."""


def test_weights_are_the_same_however_many_files_a_rank_has_and_no_vote_is_split(here):
    fields = ("--compute", "batched", "--steps", "4", "--q", "0", "--model", "mlp", "--on-tie", "recompute")
    runs = [here.run(*fields, *more, n=n) for n, more in ((2, ("--share-compute",)), (4, ()), (6, ()))]
    assert len({run["weights_digest"] for run in runs}) == 1
    assert [run["votes"]["unanimous"] for run in runs] == [4 * 3] * 3
