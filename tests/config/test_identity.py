"""Which fields name a run's folder, and how it may be named."""

import json

import pytest
from pydantic import BaseModel

from detox.config import Config, ConfigError, read_config

PLAIN = 'p = 15\nr = 3\n[aggregator]\nname = "median"\n'


def test_the_folder_is_named_by_all_but_the_place_of_the_output(read):
    config = read(PLAIN)
    assert read(PLAIN, "--output", "elsewhere").identity == config.identity
    assert read(PLAIN, "--seed", "1").identity != config.identity
    assert read(PLAIN, "--optimizer.lr", "0.2").identity != config.identity


def test_of_the_weights_to_start_from_the_content_counts_and_not_the_place(read, tmp_path):
    for name, content in (("a.pt", b"1"), ("b.pt", b"1"), ("c.pt", b"2")):
        (tmp_path / name).write_bytes(content)
    none = read(PLAIN).identity
    a, b, c = (read(PLAIN, "--init", str(tmp_path / name)).identity for name in ("a.pt", "b.pt", "c.pt"))
    assert a == b
    assert len({none, a, c}) == 3


LEFT_OUT = [
    "--output e", "--log-every 50", "--checkpoint-every 7", "--checkpoints-kept 3", "--chain-every 4",
    "--aggregator.threads 2", "--transport.poll 0.01", "--transport.start-deadline 9", "--transport.p-min 3",
    "--transport.absence 3", "--metrics my_module:log", "--transport.relay relay", "--servers 2",
    "--transport.channel tcp", "--transport.listen host:7 --transport.channel tcp",
]  # fmt: skip


@pytest.mark.parametrize("words", LEFT_OUT)
def test_what_cannot_change_the_result_is_no_part_of_the_folders_name(read, words):
    assert read(PLAIN, *words.split()).folder.name == read(PLAIN).folder.name


def _values(model, prefix=""):
    for name, value in model:
        yield from _values(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else [(f"{prefix}{name}", value)]


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # which would rather have values that can be run
def test_every_other_field_is_a_part_of_it():
    left_out = {words.split()[0].strip("-").replace("-", "_") for words in LEFT_OUT}
    config = Config()
    for field, value in _values(config):
        changed = value + 1 if isinstance(value, (int, float)) else f"{value}x"
        section, _, name = field.rpartition(".")
        part = getattr(config, section) if section else config
        other = part.model_copy(update={name: changed})
        other = config.model_copy(update={section: other}) if section else other
        assert (other.identity == config.identity) == (field in left_out), field
    # A checkpoint closes accounts, and so convicts earlier.
    some = config.model_copy(update={"quarantine": config.quarantine.model_copy(update={"policy": "majority"})})
    assert some.model_copy(update={"checkpoint_every": 7}).identity != some.identity


@pytest.mark.parametrize(
    "name", ["", "..", ".x", "-x", "a/b", "/a", "../a", "a\nb", "a\0", "\x1b[31m", "a" * 201, "\u202e", " a"]
)
def test_a_name_that_would_leave_output_or_cannot_be_printed_is_refused(read, tmp_path, name):
    with pytest.raises(ConfigError, match="name: a folder is named by it"):
        read(f"name = {json.dumps(name)}")


def test_a_file_whose_name_names_no_folder_needs_another_name(tmp_path):
    path = tmp_path / "-x.toml"
    path.write_text(PLAIN)
    with pytest.raises(ConfigError, match="name: a folder is named by it"):
        read_config(str(path), [])
    assert read_config(str(path), ["--name", "x"]).name == "x"


def test_a_tilde_in_output_is_the_home_folder(read, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(PLAIN, "--output", "~/x").folder.parent == tmp_path / "x"
    with pytest.raises(ConfigError, match="output: "):
        read('output = "~nobody-of-that-name/x"')
    with pytest.raises(ConfigError, match=r"output: .* cannot be printed"):
        read('output = "a\\u0000"')
