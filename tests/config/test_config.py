import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detox.aggregators import PAIRS
from detox.config import Config, ConfigError, can_run, check, read_config, secret_seed
from detox.config.reference import reference

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "experiments").glob("*.toml"))


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
        ('groups = "steiner"\np = 17', r"1 or 3 mod 6.*; take p = 15 or 19$"),
        ('groups = "mols"\nbatch_size = 1', "25 files of a step take at least 2 samples per worker"),
        ('groups = "mols"\ncopies = "lazy"', 'copies = "lazy" is for groups'),
        ('groups = "mols"\ngroups_within = "class"', 'groups = "mols" is of all workers'),
        ('groups = "mols"\nworker_momentum = 0.9', "a worker holds several files, and has one momentum"),
        ('groups = "mols"\nr = 1\n[audit]\nworkers = 1', "r = 1: a design needs r = 3 or more"),
        ('groups = "mols"\n[audit]\nworkers = 1', "audit.workers = 1: with r = 3 each file has copies already"),
        ('groups = "mols"\nq = 2\n[attack]\nplacement = "worst"', 'set attack.placement = "optimal"'),
        ("groups_redrawn = true\nq = 1", 'groups_redrawn is for mols, .*; set groups = "redrawn"'),
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


def test_an_option_that_does_not_exist_is_told_without_a_traceback(read, capsys):
    with pytest.raises(SystemExit) as stop:
        read(PLAIN, "--colour", "3")
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("--colour") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize("overrides", [["--p", "many"], ["--attack.kind", "tickle"], ["--p", "0"]])
def test_a_wrong_override_is_told_with_its_field(read, overrides):
    with pytest.raises(ConfigError, match=rf"^on the command line: {overrides[0].strip('-')}: Input should be"):
        read(PLAIN, *overrides)


def test_ranks_do_not_leave_before_a_step_has_to_be_over(read):
    with pytest.raises(ConfigError, match=r"transport\.silence = 600 s .* set transport\.silence = 1800"):
        read(PLAIN, "--transport.deadline", "900")
    assert read(PLAIN, "--transport.deadline", "900", "--transport.silence", "1800").transport.silence == 1800


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


def test_the_secret_seed_is_public_only_where_groups_are(read):
    assert secret_seed(read(PLAIN, "--groups", "fixed", "--seed", "5")) == 5
    assert secret_seed(read(PLAIN, "--secret-seed", "9")) == 9
    redrawn = read(PLAIN)
    assert secret_seed(redrawn) != secret_seed(redrawn)


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
