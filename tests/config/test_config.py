import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from detox.aggregators import PAIRS
from detox.config import Config, ConfigError, can_run, check, config_from, read_config, secret_seed
from detox.config.reference import reference

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.fixture
def read(tmp_path):
    def _read(text, *overrides):
        (tmp_path / "my-run.toml").write_text(text)
        return read_config(str(tmp_path / "my-run.toml"), list(overrides))

    return _read


KRUM = 'p = 21\n[aggregator]\nname = "krum"\n[aggregator.options.krum]\n'
MOMENTUM = 'p = 9\ngroups = "fixed"\nworker_momentum = 0.9\n[aggregator]\nname = "median"\n'
PLAIN = 'p = 15\nr = 3\n[aggregator]\nname = "median"\n'


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_configs_can_be_run(path):
    config = read_config(str(path), [])
    assert config.name == path.stem
    config.hierarchy.check(config.votes, config.f)


def test_the_command_line_overrides_any_field(read):
    config = read(PLAIN, "--q", "2", "--attack.kind", "nan", "--batch-size", "8", "--transport.deadline", "1.5")
    assert (config.p, config.q, config.batch_size) == (15, 2, 8)
    assert config.attack.kind == "nan"
    assert config.transport.deadline == 1.5
    assert config.name == "my-run"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p = 16\nr = 3", "p = 16 workers cannot be split into groups of r = 3; take p = 15$"),
        ("p = 17\nr = 3", "; take p >= 18, or r = 17$"),
        ("p = 2\nr = 3", "; take p >= 3$"),
        ("p = 16\nr = 4", "r = 4 is even, .* odd groups; take r = 5 and p = 15$"),
        ("p = 15\nr = 4", "r = 4 is even, .*; take r = 5$"),
        ("p = 3\nr = 3\nq = 4", "q = 4 Byzantine workers, but there are only p = 3 workers; take p >= 15, or q <= 1$"),
        ("seed = -1", "seed: .*greater than or equal to 0, got -1"),
        ('vote = "none"', "vote: .*'digest', 'full' or 'tolerance'"),
        ("colour = 3", "colour: there is no such field"),
        ("[attack]\nforce = 3", r"attack\.force: there is no such field"),
        ("p =", "not TOML"),
        (PLAIN + "f = 3", "^aggregator.name: median needs n > 2f"),
        ('p = 15\nq = 2\nr = 1\n[aggregator]\nname = "mean"', r"aggregator\.f sets another"),
        (
            PLAIN + "[aggregator.options.krum]\nneighbours = 2",
            "^aggregator.options: options given for 'krum'",
        ),
        (
            'p = 21\n[aggregator]\nname = "krum"\n[aggregator.options.krum]\nneighbours = 99',
            r"aggregator\.options: .*neighbours",
        ),
        (
            'p = 21\n[aggregator]\nname = "krum"\n[aggregator.options.krum]\nneighbours = "x"',
            r"aggregator\.options\.krum: krum: neighbours must be an int",
        ),
        (
            PLAIN + 'pre = ["bucketing"]\n[aggregator.options.bucketing]\ns = 0',
            r"aggregator\.options: bucketing needs s",
        ),
        ('[aggregator]\nname = "krumm"', "^aggregator.name: unknown aggregator 'krumm'.*did you mean krum"),
        ('[aggregator]\na0 = "krumm"', "^aggregator.a0: unknown rule 'krumm'"),
        ('[aggregator]\na1 = "krumm"', "^aggregator.a1: unknown rule 'krumm'"),
        (PLAIN + 'pre = ["nmn"]', "^aggregator.pre: unknown pre-aggregator 'nmn'"),
        ("worker_momentum = 1", "worker_momentum: .*less than 1"),
        (MOMENTUM.replace("fixed", "redrawn"), "worker_momentum with r = 3 needs groups that stay"),
        (MOMENTUM.replace("fixed", "redrawn") + '[data]\nsplit = "label"', "worker_momentum"),
        ('p = 9\nr = 1\nworker_momentum = 0.9\n[data]\nsplit = "label"', "worker_momentum: with redrawn .* shards"),
        ('best = "mape"', 'best = "mape": say whether higher or lower is better'),
        ('init = "no.pt"', "init: there is no file no.pt"),
        ('best_is = "lower"', 'best_is = "lower" without best'),
        ("[data]\nalpha = 0", r"data\.alpha: .*greater than 0"),
        ('on_tie = "recompute"\n' + MOMENTUM, "worker_momentum: the PS cannot compute what a worker sends"),
        (MOMENTUM + '[quarantine]\npolicy = "recompute"', "worker_momentum: the PS cannot compute"),
        ('r = 1\ncopies = "lazy"', 'copies = "lazy": with r = 1 each file has one copy anyway'),
        ("[audit]\nps = 6", "audit.ps = 6: a step has 5 files; set audit.ps = 5"),
        ("q = 2\n[quarantine]\nfail_closed = true", "quarantine.fail_closed goes by the graph"),
        ("r = 3\n[audit]\nworkers = 1", "audit.workers = 1: with r = 3 each file has copies already"),
        ('r = 1\ngroups = "fixed"\n[audit]\nworkers = 1', "audit.workers = 1: who audits is drawn in secret"),
        (
            "p = 5\nr = 1\n[audit]\nworkers = 3",
            "audit.workers = 3: 3 auditors among p = 5 workers are too many: at most 2",
        ),
        ('r = 1\n[quarantine]\npolicy = "graph"', "with r = 1 no two workers compute the same"),
        ('q = 2\n[quarantine]\npolicy = "graph"', 'attack.placement = "random" makes other workers lie'),
        ('vote = "tolerance"\n[quarantine]\npolicy = "graph"', "nearly equal gradients disagree in bits"),
        ('copies = "lazy"\ngroups = "fixed"\nworker_momentum = 0.5', "with lazy copies a holder that is asked late"),
        (MOMENTUM + '[quarantine]\npolicy = "majority"', 'worker_momentum needs quarantine.policy = "never"'),
        ('p = 9\nq = 2\n[aggregator]\nname = "draco"', "draco needs groups of r >= 2q .* = 5 workers.* r = 3, q = 2"),
        ('q = 2\n[aggregator]\nname = "draco"\nf = 0', "draco needs groups of r >= 2q"),
        ('vote = "tolerance"\n[compression]\nkind = "sign"', 'vote = "tolerance": .* not so as sign'),
        ('vote = "tolerance"\n[compression]\nkind = "bf16"', 'vote = "tolerance": .* not so as bf16'),
        ('r = 5\nvote = "tolerance"\n[aggregator]\nname = "draco"', 'vote = "tolerance": one Byzantine .* draco'),
        (
            "q = 2\n" + MOMENTUM + '[attack]\nkind = "label_flip"',
            "worker_momentum: .*label_flip .* placement",
        ),
        ('r = 1\n[aggregator]\nname = "dnc"\n[aggregator.options.dnc]\nrng = 3', r"options\.dnc\.rng is no number"),
    ],
)
def test_a_mistake_is_told_with_its_field(read, text, words):
    with pytest.raises(ConfigError, match=words):
        read(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            'p = 15\nq = 2\n[aggregator]\nname = "d-median"',
            r"^aggregator\.name: 1 bad vote of n = 5 can spoil 1 of the 2 vote groups \(sizes 3 \+ 2\), but A1 = "
            r"median needs n > 2f with n = 2, f = 1 \(.*\); take aggregator.name = median, or p >= 21, or r = 5, "
            r"or q <= 1$",
        ),
        (
            'p = 15\nq = 2\n[aggregator]\nname = "d-multi-krum"',
            "; take aggregator.name = multi_krum, or p >= 30$",
        ),
        (
            'p = 9\nq = 2\n[aggregator]\nname = "draco"',
            "got r = 3, q = 2; take aggregator.name = median, or r = 9, or q <= 1$",
        ),
        ('p = 15\nq = 2\n[aggregator]\nname = "d-signsgd"', "; take aggregator.name = sign_majority, or p >= 18"),
        ("p = 3\nq = 3", r"^aggregator.name: median needs n > 2f, got n = 1, f = 1 .*; take p >= 9, or q <= 1$"),
        ('p = 3000\nq = 1200\n[aggregator]\nname = "d-median"', r"\(sizes 332 x 3 \+ 2 x 2\).*; take q <= 333$"),
        (
            PLAIN + "f = 3",
            "^aggregator.name: median needs n > 2f, got n = 5, f = 3; take p >= 21, or aggregator.f <= 2$",
        ),
        ("p = 1\nr = 1\nq = 2", "there are only p = 1 worker; take p >= 5, or q = 0$"),
        ('r = 1\n[fault]\nworker = [1]\nkind = ["kill", "stop"]', "fault.kind: 2 kinds for 1 worker;"),
    ],
)
def test_what_to_do_is_said_with_what_is_wrong(read, text, words):
    with pytest.raises(ConfigError, match=words):
        read(text)


@given(
    q=st.integers(1, 12),
    r=st.sampled_from([1, 3, 5]),
    votes=st.integers(1, 9),
    aggregator=st.one_of(
        st.fixed_dictionaries({"name": st.sampled_from(["mean", "krum", "median", "draco", *PAIRS])}),
        st.fixed_dictionaries({"a0": st.sampled_from(["mean", "median"]), "k": st.integers(1, 4)}),
    ),
)
@settings(max_examples=20)
def test_what_is_advised_can_be_run_and_is_the_nearest(q, r, votes, aggregator):
    def serves(**changes):
        return can_run(Config(**{"p": votes * r, "q": q, "r": r, "aggregator": aggregator} | changes))

    if serves():
        return
    with pytest.raises(ConfigError) as refused:
        check(Config(p=votes * r, q=q, r=r, aggregator=aggregator))
    advice = str(refused.value).partition("; take ")[2]
    for way in filter(None, advice.split(", or ")):
        field, sign, value = way.split()
        if field == "aggregator.name":
            assert serves(aggregator=aggregator | {"name": value})
            continue
        assert serves(**{field: int(value)})
        distance = abs(int(value) - {"p": votes * r, "r": r, "q": q}[field])
        nearer = {
            "p": [p for p in range(r, int(value), r) if abs(p - votes * r) < distance],
            "r": range(r + 2, int(value), 2),
            "q": range(int(value) + 1, q),
        }[field]
        assert not any(serves(**{field: other}) for other in nearer)
        if sign == ">=":
            assert all(serves(p=int(value) + i * r) for i in range(1, 6))
        if sign == "<=":
            assert all(serves(q=less) for less in range(int(value)))


def _applied(fields, way):
    """The fields with what a refusal says to take."""
    changed = {"aggregator": {}} | fields
    for part in way.split(" and "):
        field, _, value = part.split()
        section, _, name = field.rpartition(".")
        if section:
            changed[section] = {**changed[section], name: int(value) if value.isdigit() else value}
        else:
            changed[name] = int(value)
    return Config(**changed)


@given(p=st.integers(1, 30), q=st.integers(0, 31), r=st.integers(1, 31))
@settings(max_examples=100)
def test_the_defaults_serve_any_sizes_or_the_refusal_names_what_works(p, q, r):
    fields = {"p": p, "q": q, "r": r}
    try:
        check(Config(**fields))
    except ConfigError as error:
        advice = str(error).partition("; take ")[2]
        assert advice
        for way in advice.split(", or "):
            check(_applied(fields, way))


def test_the_default_aggregator_serves_whatever_the_groups_tolerate():
    sizes = [(p, r) for p in range(1, 31) for r in range(1, p + 1, 2) if p % r == 0]
    for p, r in sizes:
        for q in range(p + 1):
            config = Config(p=p, q=q, r=r)
            if 2 * config.f < config.votes:  # the bad votes are fewer than the good ones
                check(config)


def test_a_missing_file_is_told():
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        read_config("nowhere.toml", [])


@pytest.mark.parametrize("overrides", [["--colour", "3"], ["--p", "many"], ["--attack.kind", "tickle"], ["--p", "0"]])
def test_a_wrong_override_is_told_without_a_traceback(read, capsys, overrides):
    with pytest.raises(SystemExit) as stop:
        read(PLAIN, *overrides)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert overrides[0] in error or overrides[0].strip("-") in error
    assert "Traceback" not in error


@pytest.mark.parametrize(("p", "q", "r", "f"), [(45, 5, 3, 2), (45, 5, 1, 5), (45, 5, 5, 1), (45, 4, 9, 0)])
def test_f_is_the_worst_case_unless_given(read, p, q, r, f):
    text = f'p = {p}\nq = {q}\nr = {r}\n[aggregator]\nname = "median"\n'
    assert read(text).f == f
    assert read(text + "f = 1").f == 1


@pytest.mark.parametrize("name", PAIRS)
def test_the_papers_pairs_run_at_the_papers_scale(read, name):
    config = read(f'p = 45\nq = 5\nr = 3\n[aggregator]\nname = "{name}"')
    config.hierarchy.check(15, 2)


def test_the_best_is_told_by_a_score_that_the_task_returns():
    Config(best="loss").check_metrics({"loss": 1.0})
    Config().check_metrics({"loss": 1.0})
    with pytest.raises(ConfigError, match='best = "accuracy": the task\'s evaluate returns loss, mae'):
        Config(best="accuracy").check_metrics({"loss": 1.0, "mae": 2.0})


@pytest.mark.parametrize("changes", [{}, {"groups": "random"}, {"groups": "redrawn", "r": 1}])
def test_worker_momentum_goes_with_groups_that_stay_and_with_the_vanilla_system(changes):
    check(Config(**{"p": 9, "groups": "fixed", "worker_momentum": 0.9, **changes}))


@pytest.mark.parametrize(("q", "r"), [(0, 1), (1, 3), (2, 5), (3, 9)])
def test_draco_needs_twice_as_many_workers_in_a_group_as_are_byzantine_and_one_more(read, q, r):
    config = read(f'p = 45\nq = {q}\nr = {r}\n[aggregator]\nname = "draco"')
    assert config.f == 0


def test_the_resolved_config_reads_back_as_itself(read, tmp_path):
    config = read(PLAIN, "--optimizer.options", "nesterov", "True", "--aggregator.pre", "nnm")
    (tmp_path / "again.toml").write_text(config.toml())
    again = read_config(str(tmp_path / "again.toml"), [])
    assert again == config
    assert again.folder == config.folder


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


LEFT_OUT = ["--output e", "--log-every 50", "--checkpoint-every 7", "--checkpoints-kept 3", "--aggregator.threads 2",
            "--transport.poll 0.01", "--transport.start-deadline 9", "--metrics my_module:log"]  # fmt: skip


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


def test_the_secret_seed_is_public_only_where_groups_are(read):
    assert secret_seed(read(PLAIN, "--groups", "fixed", "--seed", "5")) == 5
    assert secret_seed(read(PLAIN, "--secret-seed", "9")) == 9
    redrawn = read(PLAIN)
    assert secret_seed(redrawn) != secret_seed(redrawn)


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
        (LISTS, [[True], [1.5], [float("nan")], [2**64], "1", 1]),
    ],
    ids=["integers", "numbers", "flags", "lists"],
)
def test_a_value_of_another_kind_or_out_of_all_bounds_is_refused_with_its_field(paths, values):
    assert len(paths) >= (1 if paths is FLAGS else 4)
    for path in paths:
        for value in values:
            with pytest.raises(ConfigError, match=rf"^here: {path}(\.\d+)?: .*, got ") as told:
                config_from(_nested(path, value), "here")
            assert len(str(told.value)) < 400


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
        ('[fault]\nworker = [3, 3]\nkind = ["kill", "stop"]', "fault.worker: a worker is named twice"),
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


def test_the_reference_of_the_config_is_up_to_date():
    assert (ROOT / "docs" / "config.md").read_text() == reference()


def test_every_field_has_a_description():
    def walk(schema):
        for section in [schema, *schema.get("$defs", {}).values()]:
            for name, field in section["properties"].items():
                if "$ref" not in field:
                    assert field.get("description"), name

    walk(Config.model_json_schema())


def test_what_is_shipped_is_toml():
    assert SHIPPED
    for path in SHIPPED:
        assert tomllib.loads(path.read_text())


@pytest.mark.parametrize(
    ("fields", "policy"),
    [
        ({"q": 0}, "never"),
        ({"q": 2}, "never"),  # others lie in each step
        ({"q": 2, "attack": {"placement": "fixed"}}, "graph"),
        ({"q": 2, "attack": {"placement": "fixed"}, "copies": "lazy"}, "graph"),
        ({"q": 2, "attack": {"placement": "fixed"}, "r": 1}, "never"),
        ({"q": 2, "attack": {"placement": "fixed"}, "r": 1, "audit": {"workers": 1}}, "graph"),
        ({"q": 2, "attack": {"placement": "fixed"}, "r": 1, "audit": {"ps": 1}}, "graph"),
        ({"q": 2, "attack": {"placement": "fixed"}, "vote": "tolerance"}, "never"),
        ({"q": 2, "attack": {"placement": "fixed"}, "worker_momentum": 0.5, "groups": "fixed"}, "never"),
        ({"q": 2, "attack": {"placement": "fixed"}, "quarantine": {"policy": "majority"}}, "majority"),
    ],
)
def test_the_graph_is_the_policy_where_it_is_sound(fields, policy):
    config = Config(**fields)
    check(config)
    assert config.quarantine_policy == policy
