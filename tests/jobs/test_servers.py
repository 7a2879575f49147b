"""Several servers that share the weights: to the bit what one makes, whoever lies to one of them."""

import json
from pathlib import Path

import pytest
from faults import faults

from detox.launch.serve import serve
from detox.wire import codec
from detox.worker.around import Around

CONFIG = """
task = "wide:Wide"
p = 9
q = 1
batch_size = 1
share_compute = true
steps = 4
secret_seed = 3
eval_every = 2
checkpoint_every = 2

[optimizer]
name = "Adam"
lr = 0.001
schedule = "cosine"
warmup = 2

[aggregator]
name = "geometric_median"
pre = ["nnm"]
"""


@pytest.fixture(scope="module")
def run(here, tmp_path_factory):
    """A job of so many servers and ranks of workers, in a folder that may be another job's."""

    def _run(servers, *options, ranks=2, folder=None, **more):
        if folder is None:
            folder = tmp_path_factory.mktemp("servers")
            (folder / "run.toml").write_text(CONFIG)
            (folder / "wide.py").write_text(Path(__file__).with_name("wide.py").read_text())
        return here.start("--servers", str(servers), *options, n=servers + ranks, folder=folder, **more)

    return _run


@pytest.fixture(scope="module")
def of_one(run):
    """The weights' digest of a run with one server."""
    return weights(run(1))


@pytest.fixture(scope="module")
def of_honest_ones(run):
    """The same, where nobody is Byzantine."""
    return weights(run(1, "--q", "0"))


def weights(job):
    assert job.status == 0, job.text
    assert job.orderly
    assert not job.errors
    return job.summary["weights_digest"]


def kinds(job):
    return {
        (line["worker"], line["kind"]) for line in map(json.loads, (job.run / "ledger.jsonl").read_text().splitlines())
    }


def test_weights_do_not_depend_on_how_many_servers_share_them(run, of_one):
    assert of_one == weights(run(2)) == weights(run(4))


def test_shares_that_come_in_many_chunks_make_the_same_weights(run, of_one, monkeypatch):
    monkeypatch.setattr(codec, "CHUNK", 2**14)
    assert weights(run(2)) == of_one


def test_a_run_that_was_broken_off_goes_on_with_another_number_of_servers(run):
    options = ("--aggregator.name", "centered_clipping", "--steps", "6", "--optimizer.name", "NAdam")
    part = run(2, *options, after=0.02)
    assert "interrupted" in part.text, part.text
    whole = run(4, *options, folder=part.folder)
    assert "resumed after step" in whole.text
    assert weights(whole) == weights(run(1, *options))


@pytest.mark.parametrize(("fault", "kind"), [("lie", "lied"), ("withhold", "withheld")])
def test_a_share_that_is_wrong_or_does_not_come_is_fetched_of_another(run, of_honest_ones, fault, kind):
    options = ("--q", "0", *faults((0, 3), [fault] * 2), "--fault.first", "1", "--transport.fetch-deadline", "0.5")
    job = run(2, *options)
    assert weights(job) == of_honest_ones
    found = kinds(job)
    assert kind in {what for _, what in found}
    assert {worker for worker, _ in found} <= {0, 3}


def test_slices_of_two_servers_are_relayed_and_what_is_spoiled_comes_of_its_own(run, of_honest_ones):
    # Slices 0 and 1 are the first server's, 2 and 3 the second's, which workers 5 and 6 pass on together.
    hostile = faults((0, 5), ["relay_withhold", "relay_corrupt"])
    options = ("--q", "0", "--transport.relay", "relay", *hostile, "--fault.first", "2")
    job = run(2, *options, ranks=4)
    assert weights(job) == of_honest_ones
    assert job.summary["skipped_steps"] == 0
    lines = map(json.loads, (job.run / "ledger.jsonl").read_text().splitlines())
    complaints = {(line["others"][0], line["detail"].split()[-1]) for line in lines if line["kind"] == "complained"}
    assert complaints == {(0, "come"), (5, "wrong")}


def test_fewer_ranks_than_servers_get_their_weights_whole_and_it_is_said(run, of_honest_ones):
    job = run(4, "--q", "0", "--transport.relay", "relay")
    assert "transport.relay: each server needs at least one rank of workers; set servers = 2 or less" in job.text
    assert weights(job) == of_honest_ones


def test_a_lost_server_ends_the_run_which_resumes(run, of_one):
    class Deaf(Around):
        """Learns in the third step that rank 1 is lost."""

        def send(self, peers, header, payload=b""):
            if header.step == 3:
                self.dead.add(1)
            super().send(peers, header, payload)

    def life(session, argv):
        session.channel = Deaf(session.channel)
        return serve(session, argv)

    job = run(2, life=life)
    assert job.status == 1
    assert "server 1 is lost" in job.text
    again = run(2, folder=job.folder)
    assert "resumed after step 2" in again.text
    assert weights(again) == of_one


def test_a_model_too_small_for_so_many_servers_is_refused(run):
    job = run(25)
    assert job.status == 2
    assert "servers = 25: each owns whole blocks of 45168 parameters, and d = 1083685 are enough for 24" in job.text
