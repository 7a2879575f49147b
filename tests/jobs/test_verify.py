"""Runs that others can check: the chain of whole jobs, and what `detox-ps verify` says of it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from detox.config import Config, ConfigError
from detox.launch.verify import verify
from detox.ps.chain import Chain, ChainError, Link, read_chain
from detox.ps.folder import RunFolder

pytestmark = pytest.mark.usefixtures("settings_of_torch")

OPTIONS = [
    "--q", "0", "--groups", "redrawn", "--steps", "12", "--checkpoint-every", "4", "--eval-every", "3",
    "--optimizer.schedule", "ReduceLROnPlateau", "--optimizer.warmup", "3", "--optimizer.ema", "0.8",
    "--aggregator.name", "geometric_median", "--model", "mlp",
]  # fmt: skip
FAULTY = ["--fault.worker", "3", "--fault.kind", "sdc"]


@pytest.fixture(scope="module")
def made(here):
    job = here.start(*OPTIONS, *FAULTY, "--secret-seed", "7")
    assert job.status == 0, job.text
    return job


@pytest.fixture
def job(made, tmp_path):
    """A finished job, in a folder that the test may change."""
    return replace(made, folder=shutil.copytree(made.folder, tmp_path / "job"))


def _rewritten(run, step, **changes):
    """The chain with a link changed, and all that follows from it: what only recomputation can tell."""
    links = [link for link, _ in read_chain(run / "chain.jsonl")]
    (run / "chain.jsonl").unlink()
    chain = Chain(run / "chain.jsonl", 1)
    for link in links:
        facts = {name: getattr(link, name) for name in ("step", "weights", "votes", "f", "update")}
        chain.add(Link(**{**facts, **changes}) if link.step == step else link)
    return chain.end


def test_a_run_is_as_it_is_recorded_from_its_start_and_from_a_checkpoint(job, capsys):
    assert verify([str(job.run), "--steps", "20", "--from", "0"]) == 0
    told = capsys.readouterr().out
    assert told.count("votes, update as recorded") == 12
    assert f"its end is {job.summary['chain']}" in told
    assert verify([str(job.run)]) == 0
    told = capsys.readouterr().out
    assert "from the checkpoint of step 8" in told
    assert [f"step {step}: weights" in told for step in (8, 9, 10, 11, 12)] == [False, True, True, True, False]


def test_every_way_to_vote_is_recorded_and_gives_the_same(here, capsys):
    ends = []
    for options in (["--secret-seed", "7"], ["--secret-seed", "7", "--vote", "full", "--chain-every", "1", *FAULTY]):
        job = here.start(*OPTIONS, *options)
        assert verify([str(job.run), "--from", "0"]) == 0
        ends.append(job.summary["chain"])
    assert len(set(ends)) == 1  # nobody won a vote that should not have
    for options in (["--compression.kind", "bf16"], ["--r", "1", "--groups", "fixed", "--chain-every", "4"]):
        assert verify([str(here.start(*OPTIONS, *options).run), "--from", "8"]) == 0
    assert capsys.readouterr().out.count("step 9: weights, 9 votes, update as recorded") == 1


def test_where_votes_have_to_be_hashed_every_tenth_step_is_recorded_unless_told():
    assert [Config(**fields).chained for fields in ({}, {"r": 1}, {"vote": "full"}, {"r": 1, "chain_every": 3})] == [
        1, 10, 10, 3,
    ]  # fmt: skip


def test_a_resumed_run_has_the_same_chain(here, job):
    other = here.start(*OPTIONS, *FAULTY, "--secret-seed", "7", after=0.01)
    assert other.status != 0, other.text
    again = here.train(["run.toml", *OPTIONS, *FAULTY, "--secret-seed", "7"], other.folder, 3)
    assert again.status == 0, again.text
    assert "resumed after step" in again.text
    assert (again.run / "chain.jsonl").read_bytes() == (job.run / "chain.jsonl").read_bytes()


@pytest.mark.parametrize(("changes", "said"), [
    ({"weights": "0" * 32}, "step 10: it began with the weights 0000"),
    ({"votes": ("0" * 32, None, None)}, "step 10: what its samples give is not the vote on file 0; 0 other votes"),
    ({"update": "0" * 32}, "step 10: the aggregation makes"),
])  # fmt: skip
def test_what_was_recorded_and_is_not_so_is_found_where_it_begins(job, capsys, changes, said):
    _rewritten(job.run, 10, **changes)
    assert verify([str(job.run)]) == 1
    told = capsys.readouterr().out
    assert "step 9: weights, 3 votes, update as recorded" in told
    assert said in told


def test_another_step_of_the_optimizer_is_found_by_the_weights_of_the_next(job, capsys):
    _rewritten(job.run, 12, weights="0" * 32)
    assert verify([str(job.run)]) == 1
    assert "step 12: it began with the weights 0000" in capsys.readouterr().out


def test_a_checkpoint_with_other_weights_than_the_steps_before_it_lead_to_is_found(job, capsys):
    assert verify([str(job.run), "--from", "8", "--steps", "4"]) == 0
    assert "it holds these weights" in capsys.readouterr().out
    folder = RunFolder(job.run)
    _, state = folder.load_checkpoint(pytest.fail)
    state["model"]["weights"][0] += 1
    folder.save_checkpoint(12, state)
    assert verify([str(job.run), "--from", "8", "--steps", "4"]) == 1
    told = capsys.readouterr().out
    assert "step 12: weights, 3 votes, update as recorded" in told
    assert "step-00000012" in told
    assert "it holds the weights" in told


def test_a_bad_vote_is_found(here, capsys):
    byzantine = ["--q", "2", "--attack.placement", "group", "--attack.kind", "reversed", "--groups", "fixed"]
    job = here.start(*OPTIONS, *byzantine, "--quarantine.policy", "never", "--aggregator.name", "median")
    assert job.status == 0, job.text
    assert verify([str(job.run), "--from", "0"]) == 1
    assert "step 1: what its samples give is not the vote on file" in capsys.readouterr().out


def test_a_line_that_was_changed_alone_breaks_the_chain(job):
    path = job.run / "chain.jsonl"
    lines = path.read_text().splitlines()
    line = json.loads(lines[4])
    lines[4] = json.dumps({**line, "f": line["f"] + 1})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ChainError, match="line 5, step 5, does not follow"):
        verify([str(job.run)])


def test_a_chain_that_was_cut_or_made_anew_is_not_that_of_the_summary(job, capsys):
    path = job.run / "chain.jsonl"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    assert verify([str(job.run)]) == 1
    assert f"summary.json has another end, {job.summary['chain']}" in capsys.readouterr().out
    path.write_text(whole)
    _rewritten(job.run, 2, f=0, weights="0" * 32)  # which no step behind the checkpoint shows
    assert verify([str(job.run)]) == 1
    assert "summary.json has another end" in capsys.readouterr().out


def test_a_checkpoint_of_another_model_is_said(job, capsys):
    file = job.run / "config.toml"
    before = file.read_text()
    file.write_text(before.replace('model = "mlp"', 'model = "softmax"', 1))
    assert file.read_text() != before
    assert verify([str(job.run)]) == 1
    assert "the checkpoint of step 8 has" in capsys.readouterr().out


def test_nothing_is_trained_behind_a_chain_that_is_none(here, job):
    other = here.start(*OPTIONS, "--secret-seed", "7", after=0.01)
    path = other.run / "chain.jsonl"
    path.write_text(path.read_text().replace('"f": ', '"f": 1', 1))
    again = here.train(["run.toml", *OPTIONS, "--secret-seed", "7"], other.folder, 3)
    assert again.status != 0
    assert "line 1, step 1, does not follow from the line before it: move the file away" in again.text


def test_without_the_secret_seed_only_votes_are_compared_and_a_file_may_bring_it(job, tmp_path, capsys):
    shutil.move(job.run / "secret_seed", tmp_path / "seed")
    assert verify([str(job.run)]) == 0
    told = capsys.readouterr()
    assert "without the secret seed no update" in told.err
    assert told.out.count("as recorded") == 1
    assert verify([str(job.run), "--secret-seed-file", str(tmp_path / "seed")]) == 0
    assert capsys.readouterr().out.count("as recorded") == 3
    (tmp_path / "seed").write_text("8")
    verify([str(job.run), "--secret-seed-file", str(tmp_path / "seed")])


def test_other_data_code_or_versions_are_said(job, capsys):
    facts = json.loads((job.run / "provenance.json").read_text())
    (job.run / "provenance.json").write_text(json.dumps({**facts, "torch": "1.0", "data": "other"}))
    assert verify([str(job.run)]) == 0
    told = capsys.readouterr().err
    assert "made with something else than the run: torch: was 1.0" in told
    assert "data: was other" in told


@pytest.mark.parametrize(("options", "said"), [
    (["--from", "5"], "--from 5: there is no such checkpoint; there are 0, 8, 12"),
    (["--from", "12"], "step 13, behind checkpoint 12, is not in"),
    (["--from", "step-00000008-none.pt"], "there is no such checkpoint"),
    (["--steps", "0"], "--steps is at least 1"),
])  # fmt: skip
def test_what_cannot_be_made_again_is_said(job, options, said):
    with pytest.raises(ConfigError, match=said):
        verify([str(job.run), *options])


def test_a_checkpoint_is_named_by_its_file_too(job, capsys):
    (file,) = (job.run / "checkpoints").glob("step-00000008-*")
    assert verify([str(job.run), "--from", str(file), "--steps", "1"]) == 0
    assert "from the checkpoint of step 8" in capsys.readouterr().out


def test_runs_that_cannot_be_verified_are_refused(here):
    for options, said in (
        (["--chain-every", "0"], "there is no step in it; chain_every = 0"),
        (["--worker-momentum", "0.5", "--groups", "fixed"], "no checkpoint has the momenta"),
        (["--vote", "tolerance"], "equal only nearly"),
    ):
        job = here.start(*OPTIONS, *options)
        assert job.status == 0, job.text
        with pytest.raises(ConfigError, match=said):
            verify([str(job.run)])


def test_checkpoint_status_and_summary_say_up_to_which_step_votes_are_beyond_dispute(here):
    options = [*OPTIONS, *FAULTY, "--fault.first", "6", "--secret-seed", "7"]
    job = here.start(*options)
    status = json.loads((job.run / "status.json").read_text())
    assert (status["checkpoint"], status["undisputed"]) == (12, 5)
    assert job.summary["undisputed"] == 5
    states = [torch.load(path, weights_only=True) for path in sorted((job.run / "checkpoints").glob("*.pt"))]
    assert [state["undisputed"] for state in states] == [5, 5]
    clean = here.start(*OPTIONS, "--secret-seed", "7")
    assert clean.summary["undisputed"] == 12
    proven = here.start(*options, "--audit.ps", "3")
    assert proven.summary["undisputed"] == 12  # whoever contradicted is convicted
