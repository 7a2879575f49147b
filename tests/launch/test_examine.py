"""The first rank of the doctor, as far as it takes no MPI."""

import io

import pytest
from rich.console import Console

from detox.config import Config, ConfigError
from detox.launch.measure import plain
from detox.launch.patients import Patient, table
from detox.launch.train import config_first


def test_the_probe_has_as_many_samples_as_a_file_of_the_run():
    config = Config(p=15, r=3, batch_size=8, quarantine={"policy": "recompute"})
    honest = plain(config, 4)
    assert honest.r * honest.batch_size == 24
    assert (honest.p, honest.votes, honest.q) == (4, 4, 0)


def test_what_a_rank_says_of_itself_is_no_markup():
    out = io.StringIO()
    patients = [Patient(1, {"host": "n[/]", "torch": "[red]2.13"})]
    Console(file=out, width=160).print(table(patients))
    assert "n[/]" in out.getvalue()
    assert "[red]2.13" in out.getvalue()


def test_where_ranks_have_gpus_the_table_says_which():
    out = io.StringIO()
    gpus = [
        Patient(n, {"host": "n", "gpu": "NVIDIA H100", "gpu_number": str(n), "gpu_driver": "570.86"}) for n in (0, 1)
    ]
    Console(file=out, width=160).print(table([*gpus, Patient(2, {"host": "n"})]))
    assert "0 NVIDIA H100 570.86" in out.getvalue()
    assert "1 NVIDIA H100 570.86" in out.getvalue()


def test_the_config_is_the_first_word_or_there_is_none():
    assert config_first(["a.toml", "--p", "9"]) == ("a.toml", ["--p", "9"])
    assert config_first(["--task", "mnist"]) == (None, ["--task", "mnist"])
    assert config_first([]) == (None, [])
    with pytest.raises(ConfigError, match=r"CONFIG\.toml comes before the fields; got a\.toml behind --p"):
        config_first(["--p", "9", "a.toml"])
