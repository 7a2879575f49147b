import gzip
import pickle
import struct
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

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


def test_the_digits_are_those_that_scikit_learn_loads():
    from sklearn.datasets import load_digits as load

    pixels, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(1797)
    bright, labels = np.round(pixels[order] * (255 / 16)).astype(np.uint8), labels[order]
    digits = DATASETS["digits"].load(None)
    assert np.array_equal(np.concatenate([digits.train, digits.test]), bright.reshape(-1, 1, 8, 8))
    found = np.concatenate([digits.train_labels, digits.test_labels])
    assert np.array_equal(found, labels)
    assert found.dtype == labels.dtype


@pytest.mark.parametrize("found", [None, ModuleSpec("sklearn", None, origin="/nowhere/sklearn/__init__.py")])
def test_digits_without_scikit_learn_are_a_mistake_in_words(monkeypatch, found):
    monkeypatch.setattr("detox.tasks.datasets.find_spec", lambda name: found)
    with pytest.raises(TaskError, match="install scikit-learn"):
        DATASETS["digits"].load(None)


@pytest.mark.parametrize(("task", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_the_folder_that_torchvision_makes_is_understood(tmp_path, task, folder):
    (tmp_path / folder / "raw").mkdir(parents=True)
    arrays = _write_idx(tmp_path / folder / "raw", zipped=False)
    assert np.array_equal(DATASETS[task].load(tmp_path).test[:, 0], arrays["t10k-images-idx3-ubyte"])


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("train-labels-idx1-ubyte", np.zeros(29, np.uint8), "30 train images with 29 labels"),
        ("t10k-labels-idx1-ubyte", np.full(10, 10, np.uint8), "the test label 10, with 10 classes from 0"),
        (
            "t10k-images-idx3-ubyte",
            np.zeros((10, 28, 27), np.uint8),
            "train and test images of 28 x 28 and 28 x 27",
        ),
        ("t10k-images-idx3-ubyte", np.zeros((0, 28, 28), np.uint8), "0 test images with 10 labels"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, name, array, words):
    _write_idx(tmp_path, zipped=False)
    (tmp_path / name).write_bytes(_idx(array))
    with pytest.raises(TaskError, match=words):
        DATASETS["mnist"].load(tmp_path)


def test_a_missing_idx_file_is_named(tmp_path):
    _write_idx(tmp_path, zipped=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(TaskError, match=r"no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte\.gz"):
        DATASETS["mnist"].load(tmp_path)


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


def _python_2(value):
    """Protocol 2 as Python 2 wrote it, which is what CIFAR's files hold: text and bytes are one type."""
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python_2, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_python_2, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python_2(x) for item in value.items() for x in item) + b"u"
    kind = {"|u1": b"u1", "<f4": b"f4"}[value.dtype.str]
    order = b"|" if kind == b"u1" else b"<"
    dtype = b"cnumpy\ndtype\n" + _python_2((kind, 0, 1)) + b"R(K\x03" + _python_2(order) + b"NNN" + 2 * _python_2(-1)
    dtype += b"K\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _python_2((0,)) + _python_2(b"b") + b"tR"
    column_major = value.flags.f_contiguous and not value.flags.c_contiguous
    content = value.tobytes(order="F" if column_major else "C")
    state = b"(K\x01" + _python_2(value.shape) + dtype + _python_2(column_major) + _python_2(content) + b"t"
    return empty + state + b"b"


def _python_2_pickle(value):
    return b"\x80\x02" + _python_2(value) + b"."


def test_the_tests_pickles_are_what_python_reads():
    value = {b"data": np.asfortranarray(RNG.integers(0, 256, (2, 3), np.uint8)), b"labels": [3, 300]}
    read = pickle.loads(_python_2_pickle(value), encoding="bytes")
    assert np.array_equal(read[b"data"], value[b"data"])
    assert read[b"data"].flags.f_contiguous
    assert read[b"labels"] == [3, 300]


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
            (where / name).write_bytes(_python_2_pickle(content))
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
    inside = DATASETS[f"cifar{classes}"].load(next(tmp_path.iterdir()))
    for found in (images, inside):
        assert np.array_equal(found.train, pixels)
        assert np.array_equal(found.train_labels, labels)
    assert len(images.test) == 4
    assert images.classes == classes
    assert images.augment
    assert np.allclose(np.array(images.mean) * 255, [125.3, 123.0, 113.9])
    assert np.allclose(np.array(images.std) * 255, [63.0, 62.1, 66.7])


def test_an_array_in_column_major_order_is_read(tmp_path):
    data = np.asfortranarray(RNG.integers(0, 256, (4, 3072), np.uint8))
    (tmp_path / "a").write_bytes(_python_2_pickle({b"data": data, b"labels": [1, 2, 3, 4]}))
    images, labels = read_cifar_batch(tmp_path / "a", "labels")
    assert np.array_equal(images, data.reshape(4, 3, 32, 32))
    assert labels.tolist() == [1, 2, 3, 4]


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_cifar_batch_that_would_run_code_is_refused(tmp_path):
    evil = pickle.dumps({b"data": Evil(tmp_path / "proof"), b"labels": []})
    pickle.loads(evil)
    (tmp_path / "proof").unlink()
    (tmp_path / "a").write_bytes(evil)
    with pytest.raises(TaskError, match="which no CIFAR batch needs"):
        read_cifar_batch(tmp_path / "a", "labels")
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", [b"builtins\neval", b"os\nsystem", b"numpy\nload", b"_codecs\nencode"])
def test_no_function_is_within_a_batchs_reach(tmp_path, name):
    (tmp_path / "a").write_bytes(b"\x80\x02c" + name + b"\n.")
    with pytest.raises(TaskError, match="which no CIFAR batch needs"):
        read_cifar_batch(tmp_path / "a", "labels")


_BATCH = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a CIFAR batch: EOFError"),
        (b"garbage", "is not a CIFAR batch"),
        (_python_2_pickle([1]), "is not a CIFAR batch"),
        (
            _python_2_pickle(_BATCH)[:-3000],
            "is not a CIFAR batch: UnpicklingError: pickle data was truncated",
        ),
        (
            _python_2_pickle({b"data": np.zeros((2, 3072), np.uint8)}),
            "is not a CIFAR batch: KeyError: b'labels'",
        ),
        (_python_2_pickle(_BATCH | {b"labels": [1]}), r"has 2 images and labels of shape \(1,\)"),
        (_python_2_pickle(_BATCH | {b"labels": [1, 300]}), "is not a CIFAR batch: OverflowError"),
        (
            _python_2_pickle(_BATCH | {b"data": np.zeros((2, 3072), np.float32)}),
            "array of b'f4' where bytes belong",
        ),
    ],
)
def test_a_broken_cifar_batch_is_named(tmp_path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(TaskError, match=words) as error:
        read_cifar_batch(tmp_path / "a", "labels")
    assert str(tmp_path / "a") in str(error.value)


def test_a_truncated_binary_batch_is_named(tmp_path):
    (tmp_path / "a").write_bytes(bytes(3072))
    with pytest.raises(TaskError, match="not a multiple of 3073"):
        read_cifar_binary(tmp_path / "a", 1)


def test_a_missing_batch_is_named(tmp_path):
    _cifar(tmp_path, 10, "python")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(TaskError, match="data_batch_3 is missing"):
        DATASETS["cifar10"].load(tmp_path)


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
