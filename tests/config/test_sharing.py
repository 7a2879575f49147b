"""What does not go with several servers is said before anything starts."""

import pytest

from detox.config import ConfigError, read_config


@pytest.fixture
def read(tmp_path):
    def _read(*options):
        path = tmp_path / "run.toml"
        path.write_text("p = 9\nservers = 2\n")
        return read_config(str(path), list(options))

    return _read


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--vote full", "voted on by digests"),
        ("--vote tolerance", "voted on by digests"),
        ("--r 1", "voted on by digests"),
        ("--on-tie recompute", "none recomputes"),
        ("--audit.ps 1", "none recomputes"),
        ("--quarantine.policy recompute", "none recomputes"),
        ("--device cuda", 'set device = "cpu"'),
        ("--optimizer.name Adafactor", "whole tensors.* SGD"),
        ("--optimizer.options fused True", "options.fused"),
        ("--optimizer.clip-norm 1", "clip_norm"),
        ("--optimizer.ema 0.9", "ema"),
        ("--chain-every 1", "chain_every = 0"),
        ("--forensics.every 10", "nobody is examined.* forensics.every"),
        ("--forensics.limit 4096", "nobody is examined.* forensics.limit"),
    ],
)
def test_what_several_servers_cannot_do_is_refused_in_words(read, options, told):
    with pytest.raises(ConfigError, match=f"servers = 2: .*{told}"):
        read(*options.split())


def test_what_they_can_do_is_taken_and_there_is_no_chain(read):
    config = read(
        "--optimizer.name",
        "AdamW",
        "--copies",
        "lazy",
        "--aggregator.name",
        "krum",
        "--workers-per-rank",
        "3",
        "--transport.channel",
        "tcp",
        "--forensics.every",
        "0",
    )
    assert config.chained == 0
    assert config.ranks() == 5
    assert read("--servers", "1").chained == 1
