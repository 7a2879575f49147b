"""A task to choose by: Fashion-MNIST, tested on the last 10,000 training samples, which are not trained on."""

from dataclasses import replace

import torch

from detox.tasks import MODELS
from detox.tasks.classification import Classification
from detox.tasks.datasets import load_fashion_mnist

HELD_OUT = 10_000


class FashionMLP(Classification):
    """The MLP, 784-128-10."""

    def __init__(self, device: torch.device) -> None:
        images = load_fashion_mnist(None)
        train, labels = images.train, images.train_labels
        super().__init__(
            replace(
                images,
                train=train[:-HELD_OUT],
                train_labels=labels[:-HELD_OUT],
                test=train[-HELD_OUT:],
                test_labels=labels[-HELD_OUT:],
            ),
            MODELS["mlp"],
            device,
        )
