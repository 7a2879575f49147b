import tomllib
from pathlib import Path

import pytest

from detox.aggregators import PAIRS
from detox.launch.config import Config, ConfigError, read_config, secret_seed
from detox.launch.reference import reference

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.fixture
def read(tmp_path):
    def _read(text, *overrides):
        (tmp_path / "my-run.toml").write_text(text)
        return read_config(str(tmp_path / "my-run.toml"), list(overrides))

    return _read


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
        ("p = 16\nr = 3", "p = 16 workers cannot be split into groups of r = 3; the nearest p is 15"),
        ("p = 17\nr = 3", "the nearest p is 18"),
        ("p = 2\nr = 3", "the nearest p is 3"),
        ("p = 16\nr = 4", "r = 4 is even"),
        ("p = 3\nr = 3\nq = 4", "q = 4 Byzantine workers, but there are only p = 3"),
        ("seed = -1", "seed: .*greater than or equal to 0, got -1"),
        ('vote = "none"', "vote: .*'digest', 'full' or 'tolerance'"),
        ("colour = 3", "colour: there is no such field"),
        ("[attack]\nforce = 3", r"attack\.force: there is no such field"),
        ("p =", "not TOML"),
        (PLAIN + "f = 3", "median needs n > 2f"),
        ('p = 15\nq = 2\nr = 1\n[aggregator]\nname = "mean"', r"aggregator\.f sets another"),
        (PLAIN + "[aggregator.options.krum]\nneighbours = 2", "options given for 'krum', which is not used"),
        ('p = 21\n[aggregator]\nname = "krum"\n[aggregator.options.krum]\nneighbours = 99', "aggregator: .*neighbours"),
        ('p = 21\n[aggregator]\nname = "krum"\n[aggregator.options.krum]\nneighbours = "x"', "aggregator: "),
        (PLAIN + 'pre = ["bucketing"]\n[aggregator.options.bucketing]\ns = 0', "aggregator: "),
        ('[aggregator]\nname = "krumm"', "unknown aggregator 'krumm'"),
        ("worker_momentum = 1", "worker_momentum: .*less than 1"),
        (MOMENTUM.replace("fixed", "redrawn"), "worker_momentum with r = 3 needs groups that stay"),
        (MOMENTUM.replace("fixed", "redrawn") + '[data]\nsplit = "label"', "worker_momentum"),
        ('p = 9\nr = 1\nworker_momentum = 0.9\n[data]\nsplit = "label"', "worker_momentum: with redrawn .* shards"),
        ("[data]\nalpha = 0", r"data\.alpha: .*greater than 0"),
        ('on_tie = "recompute"\n' + MOMENTUM, "worker_momentum: the PS cannot compute what a worker sends"),
        (MOMENTUM + '[quarantine]\npolicy = "recompute"', "worker_momentum: the PS cannot compute"),
        (MOMENTUM + '[quarantine]\npolicy = "majority"', 'worker_momentum needs quarantine.policy = "never"'),
        ('p = 9\nq = 2\n[aggregator]\nname = "draco"', "draco needs groups of r >= 2q .* = 5 workers.* r = 3, q = 2"),
        ('q = 2\n[aggregator]\nname = "draco"\nf = 0', "draco needs groups of r >= 2q"),
        ('vote = "tolerance"\n[compression]\nkind = "sign"', 'vote = "tolerance": .* not so as sign'),
        ('vote = "tolerance"\n[compression]\nkind = "bf16"', 'vote = "tolerance": .* not so as bf16'),
        ('r = 5\nvote = "tolerance"\n[aggregator]\nname = "draco"', 'vote = "tolerance": one liar .* draco'),
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


@pytest.mark.parametrize("changes", [{}, {"groups": "random"}, {"groups": "redrawn", "r": 1}])
def test_worker_momentum_goes_with_groups_that_stay_and_with_the_vanilla_system(changes):
    Config(**{"p": 9, "groups": "fixed", "worker_momentum": 0.9, **changes}).check()


@pytest.mark.parametrize(("q", "r"), [(0, 1), (1, 3), (2, 5), (3, 9)])
def test_draco_needs_twice_as_many_workers_a_group_as_there_are_liars_and_one_more(read, q, r):
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
    assert read(PLAIN, "--output", "elsewhere").digest == config.digest
    assert read(PLAIN, "--seed", "1").digest != config.digest
    assert read(PLAIN, "--optimizer.lr", "0.2").digest != config.digest


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
