"""What a run leaves, and what another one makes of it: whole jobs."""

import json

import torch
from safetensors.torch import load_file

from detox.launch.evaluate import evaluate
from detox.ps.weights import read_facts
from detox.tasks import MODELS

EXTRAS = [
    "--optimizer.schedule", "LinearLR", "--optimizer.warmup", "3", "--optimizer.clip-norm", "0.5",
    "--optimizer.ema", "0.8", "--micro-batch-size", "20", "--autocast", "bf16", "--eval-every", "2",
]  # fmt: skip


def runs(folder):
    return {json.loads(path.read_text())["steps"]: path.parent for path in folder.glob("runs/*/summary.json")}


def test_a_longer_run_goes_on_to_the_bits_of_one_that_was_so_long_from_the_start(here):
    whole = here.start("--steps", "12", *EXTRAS)
    assert whole.status == 0, whole.text
    first = here.start("--steps", "6", *EXTRAS)
    second = here.start("--steps", "12", *EXTRAS, folder=first.folder)
    assert second.status == 0, second.text
    assert "resumed after step 6" in second.text
    assert "depends on steps" not in second.text
    short, long = (runs(first.folder)[steps] for steps in (6, 12))
    summary = json.loads((long / "summary.json").read_text())
    for name in ("weights_digest", "test_loss", "votes", "best", "skipped_steps", "ledger", "bytes_into_ps"):
        assert summary[name] == whole.summary[name], name
    tensors, expected = load_file(long / "model.safetensors"), load_file(whole.run / "model.safetensors")
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    assert [json.loads(line)["step"] for line in (long / "metrics.jsonl").read_text().splitlines()] == list(
        range(1, 13)
    )
    assert json.loads((short / "summary.json").read_text())["steps"] == 6


def test_what_depends_on_the_length_is_said_where_a_longer_run_goes_on(here):
    first = here.start("--steps", "3", "--optimizer.schedule", "cosine")
    second = here.start("--steps", "5", "--optimizer.schedule", "cosine", folder=first.folder)
    assert second.status == 0, second.text
    assert 'optimizer.schedule = "cosine" depends on steps' in " ".join(second.text.split())


def test_the_weights_of_a_run_are_evaluated_again_and_started_from(here, capsys):
    job = here.start("--steps", "5", "--eval-every", "2", "--model", "mlp")
    assert job.status == 0, job.text
    file = job.run / "model.safetensors"
    assert read_facts(file)["step"] == "5"
    assert evaluate([str(job.run), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {f"test_{name}": score for name, score in scores.items()}.items() <= job.summary.items()
    MODELS["mlp"]((1, 8, 8), 10).load_state_dict(torch.load(job.run / "best.pt", weights_only=True))
    fine = here.start("--steps", "1", "--model", "mlp", "--init", str(file), "--optimizer.lr", "1e-9")
    assert fine.status == 0, fine.text
    assert abs(fine.summary["test_loss"] - job.summary["test_loss"]) < 1e-4
    other = here.start("--steps", "1", "--model", "softmax", "--init", str(file))
    assert other.status == 2
    assert "is of another model: it has 3.bias, 3.weight, which the model has not" in " ".join(other.text.split())
