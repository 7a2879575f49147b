"""The built-in data sets: where their files are looked for, and what to do where they are missing."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from detox.tasks.classification import Images
from detox.tasks.files import read_cifar_batch, read_cifar_binary, read_idx
from detox.tasks.task import TaskError

# Per-channel mean and deviation of DETOX's experiments on CIFAR.
CIFAR_MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
CIFAR_STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)
_DIGITS, _DIGITS_TRAIN = 1797, 1437
_IDX = (
    "get the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, gzipped or not, and put them there"
)


def load_digits(folder: Path | None) -> Images:
    """Scikit-learn's 1,797 digits of 8 x 8 pixels; 1,437 to train on and 360 to test, always the same.

    The file is read without scikit-learn, which takes more than a second to import on each rank.
    """
    if folder is not None:
        raise TaskError("task digits comes with scikit-learn and takes no data_dir")
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise TaskError("task digits comes with scikit-learn, which is not installed: pip install scikit-learn")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise TaskError(f"{path} is missing: install scikit-learn again")
    table = np.loadtxt(path, np.uint8, delimiter=",")[np.random.default_rng(0).permutation(_DIGITS)]
    images = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, -1].astype(np.int64)
    cut = _DIGITS_TRAIN
    return Images(images[:cut], labels[:cut], images[cut:], labels[cut:], 10)


def load_mnist(folder: Path | None) -> Images:
    """MNIST from its four IDX files."""
    return _load_idx("mnist", folder, "MNIST/raw", _IDX, 0.1307, 0.3081)


def load_fashion_mnist(folder: Path | None) -> Images:
    """Fashion-MNIST from its four IDX files."""
    advice = "install Debian's package dataset-fashion-mnist, or " + _IDX
    return _load_idx("fashion-mnist", folder, "FashionMNIST/raw", advice, 0.2860, 0.3530)


def load_cifar10(folder: Path | None) -> Images:
    """CIFAR-10 from the files that torchvision keeps, or the binary version."""
    forms = ("cifar-10-batches-py", "cifar-10-batches-bin")
    return _load_cifar(10, folder, forms, [f"data_batch_{i}" for i in range(1, 6)], "test_batch")


def load_cifar100(folder: Path | None) -> Images:
    """CIFAR-100 (fine labels) from the files that torchvision keeps, or the binary version."""
    return _load_cifar(100, folder, ("cifar-100-python", "cifar-100-binary"), ["train"], "test")


def _load_idx(task: str, folder: Path | None, torchvision: str, advice: str, mean: float, std: float) -> Images:
    name = "train-images-idx3-ubyte"
    marks = (name, f"{name}.gz", f"{torchvision}/{name}", f"{torchvision}/{name}.gz")
    usual = (f"/usr/share/datasets/{task}", f"data/{task}", f"data/{torchvision}")
    where = _find(task, folder, usual, marks, advice).parent
    train, test = (read_idx(where, f"{part}-images-idx3-ubyte", 3)[:, None] for part in ("train", "t10k"))
    labels, test_labels = (read_idx(where, f"{part}-labels-idx1-ubyte", 1) for part in ("train", "t10k"))
    return _checked(where, Images(train, labels, test, test_labels, 10, (mean,), (std,)))


def _load_cifar(classes: int, folder: Path | None, forms: tuple[str, str], train: list[str], test: str) -> Images:
    python, binary = forms
    marks = (f"{python}/{test}", f"{binary}/{test}.bin", test, f"{test}.bin")
    advice = f"get cifar-{classes}-python.tar.gz or cifar-{classes}-binary.tar.gz and unpack it there"
    mark = _find(f"cifar{classes}", folder, (f"/usr/share/datasets/cifar{classes}", "data"), marks, advice)

    def read(names: list[str]) -> tuple[np.ndarray, np.ndarray]:
        batches = []
        for path in (mark.with_name(name + mark.suffix) for name in names):
            if not path.is_file():
                raise TaskError(f"{path} is missing")
            if mark.suffix == ".bin":
                batches.append(read_cifar_binary(path, 1 if classes == 10 else 2))
            else:
                batches.append(read_cifar_batch(path, "labels" if classes == 10 else "fine_labels"))
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        return pixels, labels

    images = Images(*read(train), *read([test]), classes, CIFAR_MEAN, CIFAR_STD, augment=True)
    return _checked(mark.parent, images)


def _find(task: str, folder: Path | None, usual: tuple[str, ...], marks: tuple[str, ...], advice: str) -> Path:
    """The file that shows where a data set is: the first of `marks` in data_dir or else in a usual place."""
    places = [folder] if folder is not None else [Path(place) for place in usual]
    for path in (place / mark for place in places for mark in marks):
        if path.is_file():
            return path
    looked = " or ".join(str(place) for place in places)
    raise TaskError(f"no files of {task} in {looked}: {advice}; data_dir names another folder")


def _checked(folder: Path, images: Images) -> Images:
    halves = (("train", images.train, images.train_labels), ("test", images.test, images.test_labels))
    for half, pixels, labels in halves:
        if len(pixels) != len(labels) or not len(pixels):
            raise TaskError(f"{folder} has {len(pixels)} {half} images with {len(labels)} labels")
        if labels.max() >= images.classes:
            raise TaskError(f"{folder} has the {half} label {labels.max()}, with {images.classes} classes from 0")
    if images.train.shape[1:] != images.test.shape[1:]:
        sizes = " and ".join(f"{s[-2]} x {s[-1]}" for s in (images.train.shape, images.test.shape))
        raise TaskError(f"{folder} has train and test images of {sizes}")
    return images


@dataclass(frozen=True)
class Dataset:
    """A data set's loader and the model that it is used with unless told.

    Attributes:
        load: reads the data set from a folder; None: from the usual places.
        model: one of MODELS.
    """

    load: Callable[[Path | None], Images]
    model: str


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(load_digits, "mlp"),
    "mnist": Dataset(load_mnist, "lenet"),
    "fashion-mnist": Dataset(load_fashion_mnist, "lenet"),
    "cifar10": Dataset(load_cifar10, "resnet18"),
    "cifar100": Dataset(load_cifar100, "vgg13"),
}
