import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from detox.tasks import TaskError, create_task
from detox.tasks.datasets import DATASETS
from detox.tasks.files import read_cifar_batch, read_cifar_binary, read_idx

RNG = np.random.default_rng(0)


def _idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _write_idx(folder, zipped):
    arrays = {}
    for part, n in (("train", 30), ("t10k", 10)):
        arrays[f"{part}-images-idx3-ubyte"] = RNG.integers(0, 256, (n, 28, 28), np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = RNG.integers(0, 10, n).astype(np.uint8)
    for name, array in arrays.items():
        content = _idx(array)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return arrays


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("task", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_plain_and_gzipped(tmp_path, zipped, task):
    arrays = _write_idx(tmp_path, zipped)
    images = DATASETS[task].load(tmp_path)
    assert np.array_equal(images.train[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(images.test_labels, arrays["t10k-labels-idx1-ubyte"])
    assert create_task(task, data_dir=str(tmp_path)).train_size == 30


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an IDX file"),
        (_idx(np.zeros((2, 3), np.uint8)), "not an IDX file of bytes with 3 dimensions"),
        (_idx(np.zeros((2, 3, 4), np.uint8))[:-1], "holds 23 bytes of data, its header says 24"),
        (_idx(np.zeros((2, 3, 4), np.uint8)) + b"x", "holds 25 bytes"),
        (b"\0\0\x0d\x03" + bytes(40), "not an IDX file of bytes"),
    ],
)
def test_a_broken_idx_file_is_named(tmp_path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(TaskError, match=words) as error:
        read_idx(tmp_path, "a", 3)
    assert str(tmp_path / "a") in str(error.value)


def test_a_truncated_gzip_file_is_named(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(_idx(np.zeros((2, 3, 4), np.uint8)))[:-9])
    with pytest.raises(TaskError, match=r"a\.gz"):
        read_idx(tmp_path, "a", 3)


def _cifar(folder, classes, form):
    """Writes a small CIFAR in one form and returns the training images and labels."""
    names = [f"data_batch_{i}" for i in range(1, 6)] if classes == 10 else ["train"]
    names.append("test_batch" if classes == 10 else "test")
    batches = {name: (RNG.integers(0, 256, (4, 3072), np.uint8), RNG.integers(0, classes, 4)) for name in names}
    if form == "python":
        where = folder / ("cifar-10-batches-py" if classes == 10 else "cifar-100-python")
        where.mkdir()
        for name, (data, labels) in batches.items():
            key = b"labels" if classes == 10 else b"fine_labels"
            content = {b"data": data, key: labels.tolist(), b"filenames": [b"x.png"] * 4}
            (where / name).write_bytes(pickle.dumps(content, protocol=2))
    else:
        where = folder / ("cifar-10-batches-bin" if classes == 10 else "cifar-100-binary")
        where.mkdir()
        for name, (data, labels) in batches.items():
            columns = [labels[:, None].astype(np.uint8), data]
            if classes == 100:
                columns.insert(0, np.full((4, 1), 77, np.uint8))
            (where / f"{name}.bin").write_bytes(np.hstack(columns).tobytes())
    train = [batches[name] for name in names[:-1]]
    return np.concatenate([d for d, _ in train]).reshape(-1, 3, 32, 32), np.concatenate([y for _, y in train])


@pytest.mark.parametrize("form", ["python", "binary"])
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_read_in_both_forms(tmp_path, classes, form):
    pixels, labels = _cifar(tmp_path, classes, form)
    images = DATASETS[f"cifar{classes}"].load(tmp_path)
    assert np.array_equal(images.train, pixels)
    assert np.array_equal(images.train_labels, labels)
    assert len(images.test) == 4
    assert images.classes == classes
    assert images.augment
    assert np.allclose(np.array(images.mean) * 255, [125.3, 123.0, 113.9])
    assert np.allclose(np.array(images.std) * 255, [63.0, 62.1, 66.7])


class Evil:
    def __reduce__(self):
        return (Path("/nonexistent/evil").touch, ())


def test_a_cifar_batch_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
    with pytest.raises(TaskError, match="which no CIFAR batch needs"):
        read_cifar_batch(tmp_path / "a", "labels")


@pytest.mark.parametrize("content", [b"", b"garbage", pickle.dumps({b"data": np.zeros(5)}), pickle.dumps([1])])
def test_a_broken_cifar_batch_is_named(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(TaskError, match="is not a CIFAR batch"):
        read_cifar_batch(tmp_path / "a", "labels")


def test_a_truncated_binary_batch_is_named(tmp_path):
    (tmp_path / "a").write_bytes(bytes(3072))
    with pytest.raises(TaskError, match="not a multiple of 3073"):
        read_cifar_binary(tmp_path / "a", 1)


def test_a_missing_batch_is_named(tmp_path):
    _cifar(tmp_path, 10, "python")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(TaskError, match="data_batch_3 is missing"):
        DATASETS["cifar10"].load(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "imagenet"}, "unknown task 'imagenet'; known: digits, mnist"),
        ({"name": "digits", "model": "gpt"}, "unknown model 'gpt'; known: softmax"),
        ({"name": "digits", "data_dir": "x"}, "takes no data_dir"),
        ({"name": "digits", "device": "abacus"}, "unknown device"),
        ({"name": "digits", "device": "cuda:99"}, "torch sees"),
        ({"name": "fashion-mnist", "data_dir": "nowhere"}, "dataset-fashion-mnist"),
        ({"name": "mnist", "data_dir": "nowhere"}, "train-images-idx3-ubyte"),
        ({"name": "cifar10", "data_dir": "nowhere"}, r"cifar-10-python\.tar\.gz"),
        ({"name": "no_such_module:Task"}, "No module named 'no_such_module'"),
        ({"name": "json:Task"}, "the module json has no Task"),
        ({"name": "json:JSONDecoder"}, "not a subclass"),
        ({"name": "json:JSONDecoder", "model": "mlp"}, "leave model and data_dir unset"),
    ],
)
def test_what_cannot_be_had_is_told_in_words(arguments, words):
    with pytest.raises(TaskError, match=words):
        create_task(**arguments)


def test_the_real_fashion_mnist_has_its_sizes():
    try:
        images = DATASETS["fashion-mnist"].load(None)
    except TaskError as error:
        pytest.skip(str(error))
    assert images.train.shape == (60_000, 1, 28, 28)
    assert images.test.shape == (10_000, 1, 28, 28)
    assert np.bincount(images.train_labels).tolist() == [6000] * 10
    assert images.train.mean() / 255 == pytest.approx(images.mean[0], abs=1e-4)
    assert images.train.std() / 255 == pytest.approx(images.std[0], abs=1e-4)


def test_the_example_of_an_own_task_trains(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "experiments")
    task = create_task("own_task:WineTask")
    torch.manual_seed(0)
    model = task.build_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.loss(model, np.arange(task.train_size), torch.Generator())
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]
    assert task.evaluate(model)["accuracy"] > 0.9
