import pytest

from detox.config import Config
from detox.config.adversary import groups_in_words


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"p": 9}, "in 3 groups of r = 3"),
        ({"p": 3}, "in 1 group of r = 3"),
        ({"p": 9, "copies": "lazy"}, "on 4 files, 2 to r = 3 copies of each"),
        ({"p": 9, "r": 1, "audit": {"workers": 1}}, "on 8 files, 1 auditor among them"),
    ],
)
def test_how_workers_share_the_files_of_a_step_is_said(fields, words):
    assert groups_in_words(Config(**fields)) == words
