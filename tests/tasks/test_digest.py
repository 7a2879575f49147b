"""What a change of a task's source or data does to its digests."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from detox.tasks import MODELS, Task, create_task
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_digits
from detox.tasks.digest import data_digest, source_digests


class Holder:
    """Any object that holds data, such as a user's data set."""

    def __init__(self, **content):
        vars(self).update(content)


def _digest(**content):
    return data_digest(Holder(**content))


LABELS = [3, 1, 2, 0]
SWAPPED = [1, 3, 2, 0]


@pytest.mark.parametrize(
    "hold",
    [
        np.array,
        torch.tensor,
        list,
        tuple,
        bytes,
        lambda labels: {"train": list(labels)},
        lambda labels: [np.array(labels), "words"],
        lambda labels: Holder(inner=Holder(targets=list(labels))),
        lambda labels: torch.utils.data.TensorDataset(torch.tensor(labels)),
        lambda labels: torch.tensor(labels, dtype=torch.bfloat16),
        lambda labels: np.array(labels, np.float32)[::-1],
        lambda labels: np.asfortranarray(np.outer(labels, [1, 2])),
        lambda labels: torch.tensor(labels)[0],
        lambda labels: torch.tensor([labels]).to_sparse(),
        lambda labels: np.array([str(label) for label in labels], object),
    ],
)
def test_data_held_in_any_form_have_a_digest_that_a_swapped_label_changes(hold):
    assert _digest(y=hold(LABELS)) == _digest(y=hold(LABELS))
    assert _digest(y=hold(LABELS)) != _digest(y=hold(SWAPPED))


def test_shape_type_and_name_count_and_two_arrays_are_not_one():
    one = np.arange(6)
    found = [
        _digest(x=one), _digest(x=one.reshape(2, 3)), _digest(x=one.astype(np.int32)), _digest(z=one),
        _digest(x=one[:3], y=one[3:]), _digest(x=[one[:3], one[3:]]), _digest(x=torch.from_numpy(one)), _digest(),
    ]  # fmt: skip
    assert len(set(found)) == len(found)


def test_what_differs_from_start_to_start_is_no_data():
    kept = _digest(x=np.arange(3))
    for other in (torch.Generator(), np.random.default_rng(), nn.Linear(2, 2), 3.5, "2026", None, print, {1}):
        with_other = _digest(x=np.arange(3), a=other)
        assert with_other in (kept, _digest(x=np.arange(3), a={2}))
    loop = Holder(x=np.arange(3))
    loop.itself = loop
    assert data_digest(loop) == data_digest(loop)


def test_a_task_says_better_itself_what_its_data_are():
    assert _digest(data_digest="v1", x=np.arange(3)) == "v1"
    assert _digest(data_digest=lambda: 7) == "7"


def test_of_very_long_arrays_rows_count(monkeypatch):
    monkeypatch.setattr("detox.tasks.digest.WHOLE", 1000)
    monkeypatch.setattr("detox.tasks.digest.ROWS", 10)
    for array in (np.arange(2000), np.arange(2000).reshape(1000, 2), np.asfortranarray(np.ones((100, 20)))):
        first, last = array.copy(), array.copy()
        first[0], last[-1] = -1, -1
        assert len({_digest(x=array), _digest(x=first), _digest(x=last)}) == 3
        assert _digest(x=torch.from_numpy(array)) == _digest(x=torch.from_numpy(array.copy()))


def test_built_in_data_have_a_digest_that_repeats():
    one, other = (create_task("digits", model="softmax") for _ in range(2))
    assert data_digest(one) == data_digest(other)
    images = load_digits(None)
    images.train_labels[0] += 1
    assert data_digest(one) != data_digest(Classification(images, MODELS["softmax"], torch.device("cpu")))


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Writes modules into a folder that Python looks into; gives the names and digests of a task's."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def _source(texts):
        for name, text in texts.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return source_digests("mine:Task")

    return _source


def test_a_change_in_any_module_of_the_users_that_the_task_imports_is_seen(source):
    before = source(
        {
            "mine.py": "import helper\nimport numpy, torch.nn, json, nowhere\nfrom detox.tasks import Task\n"
            "def later():\n    from pack.deep import thing\n    import pack.other as o",
            "helper.py": "from pack import *",
            "pack/__init__.py": "from . import relative",
            "pack/relative.py": "from .deep import thing",
            "pack/deep.py": "import mine\nthing = 1",
            "pack/other.py": "",
            "pack/unused.py": "",
            "stranger.py": "",
        }
    )
    assert set(before) == {"mine", "helper", "pack", "pack.relative", "pack.deep", "pack.other"}
    assert not {"mine", "helper", "pack"} & set(sys.modules)  # nothing was imported for it
    after = source({"pack/deep.py": "thing = 2", "pack/unused.py": "x", "stranger.py": "x"})
    assert {module for module in after if after[module] != before[module]} == {"pack.deep"}
    assert source_digests("digits") == {}


def test_a_task_that_answers_for_attributes_that_it_lacks_is_asked_for_none():
    class Silent(Task):
        build_model = loss = evaluate = None

    class Delegating(Silent):
        def __getattr__(self, name):
            raise KeyError(name)

    assert data_digest(Delegating()) == data_digest(Silent())
