"""Classification of images: the task behind every built-in data set."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from detox.tasks.task import Task, TaskError

_TEST_BATCH = 1000


@dataclass(frozen=True)
class Images:
    """A data set in memory.

    Attributes:
        train, test: (n, channels, height, width) uint8.
        train_labels, test_labels: (n,) integers in 0..classes-1.
        classes: number of classes.
        mean, std: (channels,), of pixels scaled to 0..1.
        augment: whether training images are cropped and flipped at random.
    """

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    classes: int
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    augment: bool = False


class Classification(Task):
    """Cross entropy of a model on images.

    Args:
        images: the data.
        model: makes the model from the images' shape and the number of classes.
        device: where to compute.

    Raises:
        TaskError: the model does not fit the images.
    """

    def __init__(
        self, images: Images, model: Callable[[tuple[int, int, int], int], nn.Module], device: torch.device
    ) -> None:
        channels, height, width = images.train.shape[1:]
        self.device = device
        self.train_size = len(images.train)
        self.train_labels = images.train_labels
        self._build = partial(model, (channels, height, width), images.classes)
        with torch.device("meta"):  # costs nothing, and a misfit is told at once
            self._build()
        self._augment = images.augment
        self._classes = images.classes
        self._train = torch.from_numpy(images.train).to(device)
        self._test = torch.from_numpy(images.test).to(device)
        self._train_labels = torch.from_numpy(images.train_labels.astype(np.int64)).to(device)
        self._test_labels = torch.from_numpy(images.test_labels.astype(np.int64)).to(device)
        self._mean = torch.tensor(images.mean, device=device).view(-1, 1, 1)
        self._std = torch.tensor(images.std, device=device).view(-1, 1, 1)

    def build_model(self) -> nn.Module:
        """The model, float32, on the device."""
        return self._build().to(self.device)

    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """Mean cross entropy over the samples."""
        return self.batch_loss(model, *self.batch(indices, generator))

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Images, float32, and labels."""
        chosen = torch.from_numpy(np.array(indices)).to(self.device)
        images = self._train[chosen]
        if self._augment:
            images = crop_and_flip(images, generator)
        return self._normalised(images), self._train_labels[chosen]

    def batch_loss(self, model: nn.Module, *batch: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy over the samples."""
        images, labels = batch
        return cross_entropy(model(images), labels)

    def flipped(self) -> "Classification":
        """The same images, the same tensors in memory, with training labels C-1-y."""
        other = copy.copy(self)
        other._train_labels = self._classes - 1 - self._train_labels
        return other

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Mean cross entropy and accuracy on the test set."""
        training = model.training
        model.eval()
        loss, right = 0.0, 0
        with torch.no_grad():
            for images, labels in zip(
                torch.split(self._test, _TEST_BATCH), torch.split(self._test_labels, _TEST_BATCH), strict=True
            ):
                scores = model(self._normalised(images))
                loss += float(cross_entropy(scores, labels, reduction="sum"))
                right += int((scores.argmax(1) == labels).sum())
        model.train(training)
        return {"loss": loss / len(self._test), "accuracy": right / len(self._test)}

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        # Convolutions are faster on the CPU where the channels are the innermost dimension in memory.
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        return (pixels / 255 - self._mean) / self._std


def crop_and_flip(images: torch.Tensor, generator: torch.Generator, margin: int = 4) -> torch.Tensor:
    """Each image padded by reflection, cropped back at random, and flipped left to right half of the time.

    Args:
        images: (n, channels, height, width).
        generator: on the CPU; gives two offsets and a coin an image.
        margin: pixels of padding on each side.

    Raises:
        TaskError: the images are no larger than the margin.
    """
    n, _, height, width = images.shape
    if min(height, width) <= margin:
        raise TaskError(f"images of {height} x {width} are too small for a margin of {margin}")
    top, left = (torch.randint(0, 2 * margin + 1, (2, n, 1), generator=generator) - margin).unbind()
    flip = torch.randint(0, 2, (n, 1), generator=generator).bool()
    rows = _reflected(top + torch.arange(height), height)
    columns = _reflected(left + torch.arange(width), width)
    columns = torch.where(flip, columns.flip(1), columns)
    rows, columns = rows.to(images.device), columns.to(images.device)
    each = torch.arange(n, device=images.device)[:, None, None]
    return images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _reflected(index: torch.Tensor, size: int) -> torch.Tensor:
    """Positions in 0..size-1 of pixels up to size - 1 beyond either edge."""
    return (size - 1) - ((size - 1) - index.abs()).abs()
