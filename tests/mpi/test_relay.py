"""Slices of weights between real ranks: the same bits, and a hostile or lost rank costs nobody else anything."""

from faults import faults

RELAY = ("--q", "0", "--groups", "fixed", "--model", "mlp", "--transport.relay", "relay")


def test_slices_that_real_ranks_pass_on_make_the_weights_of_whole_ones(jobs, here):
    summary = jobs.run(*RELAY, n=4)
    assert summary["weights_digest"] == here.run(*RELAY[:-1], "star", n=2)["weights_digest"]


def test_ranks_that_flood_withhold_and_die_change_no_bit_and_cost_nobody_else(jobs, here):
    # Six ranks of workers have two, two, one, and again: the second, fourth and sixth have one each, of three groups.
    hostile = faults((2, 5, 8), ["relay_flood", "relay_withhold", "kill"])
    # Seven ranks on few cores: who is late by the pace of the others is not what this is about. With whole copies each
    # step waits for all holders; with digests it goes on without the third, which then has said nothing in time.
    options = ("--vote", "full", "--transport.deadline", "20", "--transport.fetch-deadline", "20")
    summary = jobs.run(*RELAY, *hostile, *options, "--fault.first", "4", n=7)
    assert summary["weights_digest"] == here.run(*RELAY[:-1], "star", n=2)["weights_digest"]
    assert summary["skipped_steps"] == 0
    honest = [counts for worker, counts in enumerate(summary["ledger"]) if worker not in (2, 5, 8)]
    assert honest == [{"agreed": 20}] * 6
