"""byzfl's grids become ours, and our runs its results: with byzfl's own code as the oracle where it is installed."""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from detox.config import ConfigError
from detox.errors import UserError
from detox.launch import main
from detox.launch.from_byzfl import byzfl_configs
from detox.reports.byzfl import write_byzfl
from detox.reports.results import FinishedRun

for _unneeded in ("seaborn", "torchvision"):  # its experiments need them, for pictures and data
    sys.modules.setdefault(_unneeded, MagicMock())
benchmark = pytest.importorskip("byzfl.benchmark.benchmark", reason="byzfl is not installed (no-deps byzfl==0.0.11)")
evaluate_results = pytest.importorskip("byzfl.benchmark.evaluate_results")


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def _grid(**parts):
        config = copy.deepcopy(benchmark.default_config)
        for name, part in parts.items():
            config[name] = config[name] | part if isinstance(part, dict) else part
        (tmp_path / "config.json").write_text(json.dumps(config))
        return config

    return _grid


def test_a_grid_has_the_runs_that_byzfl_makes_of_it(grid):
    config = grid(
        pre_aggregators=[[{"name": "NNM", "parameters": {}}], [{"name": "ARC"}]], model={"learning_rate": [0.1, 0.2]}
    )
    config = benchmark.ensure_optional_config_parameters(config)
    cells = benchmark.generate_all_combinations(config, ["pre_aggregators", "milestones"])
    cells = benchmark.set_tolerated_f_equal_to_real_f(benchmark.ensure_key_parameters(cells))
    cells = benchmark.delegate_training_seeds(benchmark.compute_number_of_workers(cells))
    expected = [
        (
            cell["benchmark_config"]["nb_workers"], cell["benchmark_config"]["f"], cell["model"]["learning_rate"],
            cell["benchmark_config"]["data_distribution"]["distribution_parameter"],
            "-".join([cell["aggregator"]["name"], cell["pre_aggregators"][0]["name"], cell["attack"]["name"]]),
            cell["benchmark_config"]["training_seed"],
        )
        for cell in cells
    ]  # fmt: skip
    found, left_out = byzfl_configs("config.json")
    assert not left_out
    assert sorted((c.p, c.q, c.optimizer.lr, c.data.similarity, c.name, c.seed) for c in found) == sorted(expected)
    assert {(c.steps, c.eval_every, c.batch_size, c.worker_momentum, c.optimizer.weight_decay) for c in found} == {
        (800, 50, 25, 0.9, 0.0001)
    }


def test_with_groups_the_cells_that_cannot_be_are_left_out_and_said(grid, capsys):
    grid(attack=[{"name": "SignFlipping"}])
    found, _ = byzfl_configs("config.json", r=3)
    assert {(c.p, c.q, c.r) for c in found} == {(12, 2, 3)}
    assert main.run("sweep", ["--from-byzfl", "config.json", "-r", "3", "-n", "3"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == len(found)
    assert "left out: config.json: " in printed.err


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"model": {"name": "logreg_mnist"}}, "model 'logreg_mnist' has no equal here"),
        ({"attack": {"name": "Mimic"}}, "attack 'Mimic' has no equal here"),
        ({"aggregator": {"name": "CAF"}}, "aggregator 'CAF' has no equal here"),
        ({"benchmark_config": {"nb_data_distribution_seeds": 2}}, "give 1"),
        ({"benchmark_config": {"training_algorithm": {"name": "FedAvg"}}}, "workers send gradients here"),
    ],
)
def test_what_has_no_equal_here_is_refused_in_words(grid, parts, why):
    config = grid()
    for name, part in parts.items():
        config[name] = {**(config[name] if isinstance(config[name], dict) else {}), **part}
    Path("config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=f"config.json: .*{why}"):
        byzfl_configs("config.json")


@pytest.mark.parametrize("text", ["[1]", "{", "{}", '{"benchmark_config": 3}'])
def test_what_is_no_grid_of_byzfls_is_told_in_words(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json: "):
        byzfl_configs(str(tmp_path / "config.json"))


def test_byzfl_draws_our_runs(here, tmp_path, monkeypatch):
    runs = []
    for rule in ("trimmed_mean", "median"):
        for q in ("1", "2"):
            options = ("--attack.kind", "ipm", "--attack.scale", "1", "--r", "1", "--p", str(7 + int(q)), "--q", q)
            options += ("--aggregator.name", rule, "--steps", "4", "--eval-every", "2", "--data.split", "similarity")
            job = here.start(*options, "--data.similarity", "0.3", "--quarantine.policy", "never")
            assert job.status == 0, job.text
            runs.append(FinishedRun.read(job.run))
    write_byzfl(runs, tmp_path / "results")
    unscored = replace(runs[0], metrics=[line | dict.fromkeys(line.keys() & {"accuracy"}) for line in runs[0].metrics])
    with pytest.raises(UserError, match="without an accuracy"):
        write_byzfl([unscored, *runs[1:]], tmp_path / "unscored")
    heatmap = MagicMock()
    monkeypatch.setattr(evaluate_results.sns, "heatmap", heatmap, raising=False)
    monkeypatch.setattr(evaluate_results.plt, "savefig", lambda *_, **__: None)
    evaluate_results.test_heatmap(str(tmp_path / "results"), str(tmp_path / "plots"))
    tables = [call.args[0] for call in heatmap.call_args_list]
    best = [max(of.scores["accuracy"] for of in run.scores) for run in runs]
    np.testing.assert_allclose(np.array(tables)[:, 0], np.reshape(best, (2, 2)), atol=1e-4)
