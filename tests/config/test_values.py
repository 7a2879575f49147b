"""What a field takes, what it refuses and in which words, and how files and command lines write it."""

import os
import re

import pytest

from detox.config import Config, ConfigError, config_from, read_config


def _fields(model, prefix=""):
    """(path, JSON schema) of each field that holds a number or a flag, alone or in a list or table."""
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        if "$ref" in field:
            yield from _fields(model.model_fields[name].annotation, f"{name}.")
        else:
            yield prefix + name, next(kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null")


def _nested(path, value):
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


FIELDS = dict(_fields(Config))
INTEGERS = [path for path, field in FIELDS.items() if field.get("type") == "integer"]
NUMBERS = [path for path, field in FIELDS.items() if field.get("type") == "number"]
FLAGS = [path for path, field in FIELDS.items() if field.get("type") == "boolean"]
LISTS = [path for path, field in FIELDS.items() if field.get("type") == "array"]


@pytest.mark.parametrize(
    ("paths", "values"),
    [
        (INTEGERS, [True, 1.0, 1.5, "1", -1, 2**128, 10**5000, float("nan"), [1], {"a": 1}]),
        (NUMBERS, [True, "1", float("nan"), float("inf"), -float("inf"), 10**5000, [1.0]]),
        (FLAGS, [1, 0, 1.0, "yes", "true", None]),
        (LISTS, [[True], [1.5], [float("nan")], [2**64], {"a": 1}, True, 1.5]),
    ],
    ids=["integers", "numbers", "flags", "lists"],
)
def test_a_value_of_another_kind_or_out_of_all_bounds_is_refused_with_its_field(paths, values):
    assert len(paths) >= (1 if paths is FLAGS else 4)
    for path in paths:
        for value in values:
            with pytest.raises(ConfigError, match=rf"^here: {path}(\.\d+)?: .*, got ") as told:
                config_from(_nested(path, value), "here")
            assert len(str(told.value)) < 450


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("nan")]])
@pytest.mark.parametrize("path", ["aggregator.options.krum.neighbours", "optimizer.options.dampening"])
def test_what_is_not_finite_is_refused_in_tables_of_options_too(path, value):
    with pytest.raises(ConfigError, match=f"^here: {path}: .*") as told:
        config_from(_nested(path, value), "here")
    assert str(told.value).count("\n") == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = 18446744073709551616", "seed: .*less than or equal to 18446744073709551615"),
        ("steps = 4294967296", "steps: .*less than or equal to 4294967295"),
        ("p = 65537", "p: .*less than or equal to 65536"),
        ("batch_size = 1000000000", "batch_size = 1000000000 for p = 15 workers: a step has at most"),
        ("learning_rate = 3", "learning_rate: there is no such field$"),
        ("batchsize = 3", "batchsize: there is no such field; did you mean batch_size"),
        ("[optimiser]\nlr = 1", "optimiser: there is no such field; did you mean optimizer"),
        ("[attack]\nplacment = 1", r"attack\.placment: there is no such field; did you mean attack\.placement"),
        ('attack = "alie"', r"attack is a section, \[attack\], got 'alie'"),
        ("p = 9\np = 9", "not TOML: Cannot overwrite"),
        ("a = " + "[" * 5000, "not TOML"),
        ("p = " + "1" * 5000, "not TOML"),
        ("p = 0x" + "f" * 5000, "p: .*too long to print"),
        ("p = 9.0", "p: .*valid integer, got 9.0"),
        ("[optimizer]\nlr = 1e400", r"optimizer\.lr: .*finite number, got inf"),
        ('[optimizer]\nlr = "0.1"', r"optimizer\.lr: .*valid number, got '0\.1'"),
        ("[optimizer.options]\nlr = 0.2", r"optimizer\.options\.lr: there is optimizer\.lr = 0\.1 beside it"),
        *(
            (f"[optimizer]\n{name} = 0.1\noptions.{name} = 0.2", f"there is optimizer.{name} = 0.1 beside it")
            for name in ("momentum", "weight_decay")
        ),
        ('[fault]\nkind = ["kill"]', "fault.kind without fault.worker"),
        ("[fault]\nworker = 3", "fault.worker without fault.kind: name the fault"),
        ('[fault]\nworker = 3\nkind = "nulify"', "fault.kind.0: .*; did you mean nullify"),
        ('copies = "lasy"', "copies: .*; did you mean lazy"),
        ('[fault]\nworker = [3, 3]\nkind = ["kill", "stop"]', "fault.worker: a worker is named twice"),
        (
            '[fault]\nworker = [3]\nkind = ["relay_delay"]',
            "fault.kind = relay_delay: no rank passes weights on as a star",
        ),
        ("[transport]\np_min = 16", r"transport\.p_min = 16 workers of p = 15"),
        ('[transport]\nlisten = "10.0.0.1"', r"transport\.listen = 10\.0\.0\.1: nobody dials over MPI"),
        ('[transport]\nchannel = "tcp"\nlisten = "x:y:z"', r"transport\.listen x:y:z: HOST:PORT is wanted"),
        ('[transport]\nchannel = "tcp"\nlisten = "fd00::1"', r"transport\.listen fd00::1: HOST:PORT is wanted"),
        ('[transport]\nchannel = "tcp"\nlisten = "0.0.0.0:7070"', "ranks cannot dial all addresses of a host"),
        ('[transport]\nchannel = "tcp"\nlisten = ":7070"', "ranks cannot dial all addresses of a host"),
        (
            'groups_within = "class"\n[transport]\nchannel = "tcp"\np_min = 9',
            "p_min = 9, groups_within = .*come later nobody",
        ),
        (
            '[fault]\nworker = [3]\nkind = ["sdc"]\nmean_steps = 9.0\nevery = 3',
            "fault.mean_steps = 9 and fault.every = 3",
        ),
        ('[fault]\nworker = [3]\nkind = ["kill"]\nrepeatable = true', "fault.repeatable is for bit_flip, nan, inf, "),
        ('[fault]\nworker = [3]\nkind = ["kill"]\nlast = 1', "fault.last = 1 is before fault.first = 2"),
        ("[optimizer]\nmilestones = [3]", "milestones go with schedule"),
        ('[optimizer]\nschedule = "step"', "milestones go with schedule"),
        ('device = "gpu"', "device: "),
        ('[aggregator]\nname = "centered_clipping"\noptions.centered_clipping.iterations = 1000000000', "iterations"),
    ],
)
def test_a_value_that_the_code_behind_it_does_not_take_is_told(read, text, words):
    with pytest.raises(ConfigError, match=words):
        read(text)


def test_over_tcp_workers_collude_and_pass_weights_on_as_over_mpi(read):
    tcp = '[transport]\nchannel = "tcp"\nrelay = "relay"\nlisten = "[fd00::1]"\np_min = 15'
    config = read(f'q = 2\n[attack]\nkind = "alie"\n{tcp}\n[fault]\nworker = [3]\nkind = ["relay_flood"]')
    assert config.colludes
    assert config.transport.relays(ranks=46, size=2**24)


def test_a_list_for_an_optimizer_can_be_given_on_the_command_line(read):
    config = read('[optimizer]\nname = "Adam"', "--optimizer.options", "betas", "[0.9, 0.98]", "mode", "[x", "n", "3")
    assert config.optimizer.options == {"betas": (0.9, 0.98), "mode": "[x", "n": 3}


@pytest.mark.parametrize("field", ["options", "schedule_options"])
def test_options_with_a_list_in_the_file_leave_the_command_line_as_it_is(read, field):
    text = f"[optimizer.{field}]\nbetas = [0.9, 0.98]"
    assert getattr(read(text, "--q", "1").optimizer, field) == {"betas": (0.9, 0.98)}
    option = f"--optimizer.{field.replace('_', '-')}"
    assert getattr(read(text, option, "eta_min", "0.1").optimizer, field) == {"eta_min": 0.1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('schedule = "cosine"\nschedule_options.T_max = 3', "schedule_options.T_max: the length of cosine is steps"),
        ('schedule = "step"\nmilestones = [3]\nschedule_options.gamma = 0.5', "there is optimizer.gamma"),
    ],
)
def test_an_option_of_a_schedule_that_a_field_has_is_refused(read, text, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        read(f"[optimizer]\n{text}")


def test_what_another_optimizer_has_by_default_can_be_set_to_0(read):
    config = read('[optimizer]\nname = "AdamW"\noptions.weight_decay = 0')
    assert config.optimizer.options == {"weight_decay": 0}


@pytest.mark.parametrize("value", ["{}", "[{}]"])
def test_one_value_may_stand_for_a_list_of_one(read, value):
    text = '[aggregator]\nname = "krum"\npre = {}\n[fault]\nworker = {}\nkind = {}'
    config = read(text.format(*(value.format(one) for one in ('"nnm"', 3, '"sdc"'))))
    assert (config.aggregator.pre, config.fault.worker, config.fault.kind) == (("nnm",), (3,), ("sdc",))


def test_numbers_may_be_written_as_toml_writes_them(read):
    config = read("p = 0x0f\nsteps = 1_000\nseed = 18446744073709551615\n[optimizer]\nlr = 1")
    assert (config.p, config.steps, config.seed, config.optimizer.lr) == (15, 1000, 2**64 - 1, 1.0)


def test_a_byte_order_mark_is_no_statement_and_toml_is_utf_8(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes("\ufeff# für später\r\np = 9\r\n".encode())
    assert read_config(str(path), []).p == 9


def test_what_is_no_file_of_utf_8_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes("# für".encode("latin-1"))
    for name, words in (("pipe", "is no file"), ("folder", "is no file"), ("latin", "not UTF-8"), ("a\0b", "null")):
        with pytest.raises(ConfigError, match=words):
            read_config(str(tmp_path / f"{name}.toml"), [])


def test_every_argument_of_an_optimizer_can_be_given(read, tmp_path):
    text = (
        '[optimizer]\nname = "AdamW"\noptions = {betas = [0.9, 0.98], eps = 1e-6, amsgrad = true, mode = "x", n = 3}\n'
    )
    config = read(text)
    options = {"betas": (0.9, 0.98), "eps": 1e-6, "amsgrad": True, "mode": "x", "n": 3}
    assert config.optimizer.options == options
    assert [type(value) for value in config.optimizer.options.values()] == [tuple, float, bool, str, int]
    (tmp_path / "again.toml").write_text(config.toml())
    assert read_config(str(tmp_path / "again.toml"), []) == config
    assert Config(**config.model_dump(mode="json")) == config
