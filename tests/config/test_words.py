import pytest

from detox.assignment.theory import bad_group
from detox.config import Config
from detox.config.adversary import create_placement, groups_in_words, worst_in_words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"p": 9}, "in 3 groups of r = 3"),
        ({"p": 3}, "in 1 group of r = 3"),
        ({"p": 9, "copies": "lazy"}, "on 4 files, 2 to r = 3 copies of each"),
        ({"p": 15, "groups": "steiner"}, "on 35 files of groups = steiner, 7 a worker, r = 3 copies of each"),
        ({"p": 9, "r": 1, "audit": {"workers": 1}}, "on 8 files, 1 auditor among them"),
    ],
)
def test_how_workers_share_the_files_of_a_step_is_said(fields, words):
    assert groups_in_words(Config(**fields)) == words


def test_what_a_design_stands_is_said_and_whether_that_is_exact():
    design = {"groups": "mols", "aggregator": {"f": 0}}
    assert worst_in_words(Config(p=15, q=4, **design)).endswith("spoil at most 5 of 25 files (by search)")
    bound = worst_in_words(Config(p=35, r=5, q=13, **design))
    assert bound.endswith("of 49 files (a bound; the best placement that was found spoils 20)")
    assert worst_in_words(Config(p=15, q=4)) == worst_in_words(Config(p=15, groups="steiner")) == ""


@pytest.mark.parametrize(
    ("fields", "spoiled"),
    [
        ({"groups": "fixed"}, 2),
        ({"groups": "random", "seed": 4}, 2),
        ({"groups": "random", "seed": 4, "copies": "lazy"}, 3),
        ({"groups": "steiner"}, 6),
        ({"groups": "mols"}, 5),
    ],
)
def test_the_optimal_placement_knows_groups_that_are_not_drawn_in_secret(fields, spoiled):
    config = Config(p=15, q=4, attack={"placement": "optimal"}, **fields)
    byzantine = create_placement(config).byzantine(1)
    holders = config.create_scheme().draw(7, range(15)).holders
    assert sum(len(byzantine.intersection(of_one)) >= 2 for of_one in holders) == spoiled


@pytest.mark.parametrize("fields", [{"groups": "redrawn"}, {"groups": "steiner", "groups_redrawn": True}])
def test_where_they_are_secret_the_optimal_placement_has_to_guess(fields):
    config = Config(p=15, q=4, attack={"placement": "optimal"}, **fields)
    scheme = config.create_scheme(5)
    byzantine = create_placement(config).byzantine(1)
    bad = [
        sum(len(byzantine.intersection(of_one)) >= 2 for of_one in scheme.draw(step, range(15)).holders)
        for step in range(400)
    ]
    expected = config.votes * float(bad_group(15, 4, 3))
    assert abs(sum(bad) / 400 - expected) < 0.35
    assert byzantine == create_placement(config).byzantine(2)
