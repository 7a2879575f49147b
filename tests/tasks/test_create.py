import sys
from pathlib import Path

import pytest
import torch

from detox.tasks import MODELS, TASKS, FlatModel, TaskError, create_task


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "imagenet"}, "unknown task 'imagenet'; known: digits, mnist"),
        ({"name": "digits", "model": "gpt"}, "unknown model 'gpt'; known: softmax"),
        ({"name": "digits", "data_dir": "x"}, "takes no data_dir"),
        ({"name": "digits", "device": "abacus"}, "unknown device"),
        ({"name": "digits", "device": "meta"}, "unknown device 'meta'; known: cpu, cuda, cuda:N"),
        ({"name": "digits", "device": "cuda:99"}, "device = cuda:99, but torch"),
        ({"name": "digits", "model": "lenet"}, "lenet needs images of 12 x 12 or more, these are 8 x 8"),
        ({"name": "fashion-mnist", "data_dir": "nowhere"}, "dataset-fashion-mnist"),
        ({"name": "mnist", "data_dir": "nowhere"}, "train-images-idx3-ubyte"),
        ({"name": "cifar10", "data_dir": "nowhere"}, r"cifar-10-python\.tar\.gz"),
        ({"name": "no_such_module:Task"}, "No module named 'no_such_module'"),
        ({"name": ":Task"}, "write it as my_module:name"),
        ({"name": "json:"}, "write it as my_module:name"),
        ({"name": "../json:Task"}, "write it as my_module:name"),
        ({"name": "json:Task"}, "the module json has no Task"),
        ({"name": "json:JSONDecoder"}, "not a subclass"),
        ({"name": "json:JSONDecoder", "model": "mlp"}, "leave model and data_dir unset"),
    ],
)
def test_what_cannot_be_had_is_told_in_words(arguments, words):
    with pytest.raises(TaskError, match=words):
        create_task(**arguments)


@pytest.mark.parametrize("task", TASKS[1:])
def test_missing_data_says_what_to_get_and_where_it_was_looked_for(tmp_path, task):
    with pytest.raises(TaskError, match=f"no files of {task} in {tmp_path}.*data_dir names another folder"):
        create_task(task, data_dir=tmp_path)


def test_creating_a_task_draws_no_random_numbers():
    torch.manual_seed(3)
    create_task("digits")
    first = torch.rand(5)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(5), first)


@pytest.mark.parametrize("model", ["softmax", "mlp", "resnet18"])
def test_one_seed_gives_one_model(model):
    assert model in MODELS
    task = create_task("digits", model=model)
    weights = []
    for _ in range(2):
        torch.manual_seed(5)
        weights.append(FlatModel(task.build_model()).weights)
    assert torch.equal(*weights)
    assert not torch.equal(weights[0], FlatModel(task.build_model()).weights)


_OWN = """
import torch
from detox.tasks import Task

class Whole(Task):
    train_size = 3
    def __init__(self, device):
        self.device = device
    def build_model(self): ...
    def loss(self, model, indices, generator): ...
    def evaluate(self, model): ...

class Unfinished(Task):
    train_size = 3
    def build_model(self): ...

class NoDevice(Whole):
    def __init__(self): ...

class Needy(Whole):
    def __init__(self, device, path): ...

class Sizeless(Whole):
    train_size = 0

class Fractional(Whole):
    train_size = 3.0

class Affirmed(Whole):
    train_size = True

class Negative(Whole):
    train_size = -2

class Unset(Whole):
    train_size = None

class Counted(Whole):
    @property
    def train_size(self):
        return len(self.rows)

class FromNumpy(Whole):
    def __init__(self, device):
        import numpy
        self.train_size = numpy.int64(7)

class Reading(Whole):
    def __init__(self, device):
        open("no_such_file.npz")

class Mistaken(Whole):
    def __init__(self, device):
        self.size = self.rows

class Exiting(Whole):
    def __init__(self, device):
        import sys
        sys.exit("no GPU here")
"""
_BROKEN = {
    "unclosed": ("import torch\nrows = [1, 2\n", r"importing unclosed failed with SyntaxError: .*, in .*unclosed.py:2"),
    "mistaken": ("import torch\n\ntorch.no_such()\n", r"failed with AttributeError: .*, in .*mistaken.py:3$"),
    "leaving": ("import sys\nsys.exit(3)\n", r"importing leaving called sys.exit\(3\), in .*leaving.py:2$"),
    "vanishing": ("import os\nos._exit(0)\n", r"importing vanishing called os._exit\(0\), in .*vanishing.py:2$"),
    "nested": ("import needs_more\n", "No module named 'no_such_library'"),
    "binary": ("x = '\0'\n", "importing binary failed with (SyntaxError|ValueError)"),
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a module in the current folder, forgotten after the test."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_tasks.py").write_text(_OWN)
    (tmp_path / "needs_more.py").write_text("import no_such_library")
    for name, (source, _) in _BROKEN.items():
        (tmp_path / f"{name}.py").write_text(source)
    yield "some_tasks"
    for name in ("some_tasks", "needs_more", *_BROKEN):
        sys.modules.pop(name, None)


def test_an_own_task_in_the_current_folder_is_found_and_told_its_device(own):
    task = create_task(f"{own}:Whole", device="cpu")
    assert type(task).__name__ == "Whole"
    assert task.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("some_tasks:Missing", "the module some_tasks has no Missing"),
        ("some_tasks:Unfinished", "Unfinished lacks evaluate, loss"),
        (
            "some_tasks:NoDevice",
            r"made by NoDevice\(device=\.\.\.\): got an unexpected keyword argument 'device'",
        ),
        ("some_tasks:Needy", r"made by Needy\(device=\.\.\.\): missing a required argument: 'path'"),
        ("some_tasks:Sizeless", "Sizeless must set train_size"),
        ("some_tasks:Fractional", r"train_size, .*, to an integer of at least 1; it is 3\.0"),
        ("some_tasks:Affirmed", "it is True"),
        ("some_tasks:Negative", "it is -2"),
        ("some_tasks:Unset", "it is nothing"),
        ("some_tasks:Counted", r"failed with AttributeError: .*rows.*, in .*some_tasks\.py:\d+ \(train_size\)"),
        (
            "some_tasks:Reading",
            r"FileNotFoundError: .*no_such_file\.npz.*, in .*some_tasks\.py:\d+ \(__init__\)",
        ),
        ("some_tasks:Mistaken", r"Mistaken\(device=\.\.\.\) failed with AttributeError: .*, in .*some_tasks\.py:\d+"),
        ("some_tasks:Exiting", r"called sys\.exit\('no GPU here'\), in .*some_tasks\.py:\d+ \(__init__\)"),
        *((f"{name}:Task", words) for name, (_, words) in _BROKEN.items()),
        ("needs_more:Task", "No module named 'no_such_library'"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_is_wrong_with_an_own_task_is_told_in_words(name, words):
    with pytest.raises(TaskError, match=words):
        create_task(name)


def test_a_module_with_the_name_of_another_is_told_to_take_a_name_of_its_own(own, monkeypatch):
    for name in ("statistics", "numpy"):
        Path(f"{name}.py").write_text("raise SystemExit('imported')\n")
        with pytest.raises(TaskError, match=rf"{name} is also a module of Python's .* give .*{name}\.py another name"):
            create_task(f"{name}:MyTask")
    assert sys.path[-1] == str(Path.cwd())


def test_an_own_task_cannot_let_the_gpu_choose_its_kernels(own):
    torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True  # as a module may when it is imported
    create_task(f"{own}:Whole")
    assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32) == (False, False)


def test_train_size_may_be_any_integer(own):
    assert create_task(f"{own}:FromNumpy").train_size == 7
