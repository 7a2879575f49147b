"""The built-in data sets: where their files are looked for, and what to do where they are missing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detox.tasks.classification import Images
from detox.tasks.files import read_cifar_batch, read_cifar_binary, read_idx
from detox.tasks.task import TaskError

# Per-channel mean and deviation of DETOX's experiments on CIFAR.
CIFAR_MEAN = (125.3 / 255, 123.0 / 255, 113.9 / 255)
CIFAR_STD = (63.0 / 255, 62.1 / 255, 66.7 / 255)
_DIGITS_TRAIN = 1437


def load_digits(folder: Path | None) -> Images:
    """Scikit-learn's 1,797 digits of 8 x 8 pixels; 1,437 to train on and 360 to test, always the same."""
    from sklearn.datasets import load_digits as load

    if folder is not None:
        raise TaskError("task digits comes with scikit-learn and takes no data_dir")
    pixels, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    images = np.round(pixels[order] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = labels[order]
    cut = _DIGITS_TRAIN
    return Images(images[:cut], labels[:cut], images[cut:], labels[cut:], 10)


def _load_idx(folder: Path, mean: float, std: float) -> Images:
    train, test = (read_idx(folder, f"{part}-images-idx3-ubyte", 3)[:, None] for part in ("train", "t10k"))
    train_labels, test_labels = (read_idx(folder, f"{part}-labels-idx1-ubyte", 1) for part in ("train", "t10k"))
    for images, labels in ((train, train_labels), (test, test_labels)):
        if len(images) != len(labels):
            raise TaskError(f"{folder} has {len(images)} images with {len(labels)} labels")
    return Images(train, train_labels, test, test_labels, 10, (mean,), (std,))


def load_mnist(folder: Path | None) -> Images:
    """MNIST from its four IDX files."""
    where = ("/usr/share/datasets/mnist", "data/MNIST/raw", "data/mnist")
    return _load_idx(_find("mnist", folder, where, "train-images-idx3-ubyte*", _IDX), 0.1307, 0.3081)


def load_fashion_mnist(folder: Path | None) -> Images:
    """Fashion-MNIST from its four IDX files."""
    where = ("/usr/share/datasets/fashion-mnist", "data/FashionMNIST/raw", "data/fashion-mnist")
    advice = "install Debian's package dataset-fashion-mnist, or " + _IDX
    return _load_idx(_find("fashion-mnist", folder, where, "train-images-idx3-ubyte*", advice), 0.2860, 0.3530)


def _load_cifar(task: str, folder: Path | None, classes: int) -> Images:
    base = _find(task, folder, ("data", "/usr/share/datasets/cifar"), f"cifar-{classes}-*", _CIFAR)
    python, binary = base / f"cifar-{classes}{'-batches-py' if classes == 10 else '-python'}", base / (
        f"cifar-{classes}{'-batches-bin' if classes == 10 else '-binary'}"
    )
    train = [f"data_batch_{i}" for i in range(1, 6)] if classes == 10 else ["train"]
    test = "test_batch" if classes == 10 else "test"
    if python.is_dir():
        label = "labels" if classes == 10 else "fine_labels"
        parts = [read_cifar_batch(_file(python / name), label) for name in (*train, test)]
    else:
        parts = [read_cifar_binary(_file(binary / f"{name}.bin"), 1 if classes == 10 else 2) for name in (*train, test)]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True))
    return Images(images, labels, *parts[-1], classes, CIFAR_MEAN, CIFAR_STD, augment=True)


def load_cifar10(folder: Path | None) -> Images:
    """CIFAR-10 from the files that torchvision keeps, or the binary version."""
    return _load_cifar("cifar10", folder, 10)


def load_cifar100(folder: Path | None) -> Images:
    """CIFAR-100 (fine labels) from the files that torchvision keeps, or the binary version."""
    return _load_cifar("cifar100", folder, 100)


_IDX = (
    "get the four files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, gzipped or not"
)
_CIFAR = (
    "get cifar-10-python.tar.gz or cifar-10-binary.tar.gz (CIFAR-100: cifar-100-python.tar.gz or "
    "cifar-100-binary.tar.gz) and unpack it"
)


def _find(task: str, folder: Path | None, usual: tuple[str, ...], pattern: str, advice: str) -> Path:
    """The first folder that holds the task's files."""
    places = (folder,) if folder is not None else tuple(Path(place) for place in usual)
    for place in places:
        if any(place.glob(pattern)):
            return place
    looked = ", ".join(str(place) for place in places)
    raise TaskError(f"no files of {task} in {looked}: {advice}, there or in another folder that data_dir names")


def _file(path: Path) -> Path:
    if not path.is_file():
        raise TaskError(f"{path} is missing")
    return path


@dataclass(frozen=True)
class Dataset:
    """How to load a data set from a folder (None: the usual places), and the model that it is used with unless told."""

    load: Callable[[Path | None], Images]
    model: str


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(load_digits, "mlp"),
    "mnist": Dataset(load_mnist, "lenet"),
    "fashion-mnist": Dataset(load_fashion_mnist, "lenet"),
    "cifar10": Dataset(load_cifar10, "resnet18"),
    "cifar100": Dataset(load_cifar100, "vgg13"),
}
