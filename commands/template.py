"""my_task: what is trained. Replace the made-up data and the model by your own, and run it from this folder:

detox-ps launch -n 3 my_task.toml
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

from detox.tasks import Batches, Task


class MyTask(Task):
    """Points in the plane, of two classes: those within a circle, and those outside."""

    def __init__(self, *, device: torch.device) -> None:
        # Every rank makes a task of its own, and all have to hold the same bits: shuffle and split with fixed seeds.
        generator = torch.Generator().manual_seed(0)
        points = torch.rand(1200, 2, generator=generator) * 2 - 1
        labels = (points.square().sum(1) < 0.6).long()
        self.device = device
        # Any map-style Dataset of torch's will do: a file of samples, a folder of images, one of torchvision's.
        self.train = Batches(TensorDataset(points[:1000], labels[:1000]), device)
        self.test = Batches(TensorDataset(points[1000:], labels[1000:]), device)
        self.train_size = len(self.train)

    def build_model(self) -> nn.Module:
        # The initial weights are those of the config's seed, on all ranks.
        return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)).to(self.device)

    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        # The mean over the samples with these numbers. What is random has to come from the generator, or from torch.
        points, labels = self.train.batch(indices, generator)
        return cross_entropy(model(points), labels)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        # Numbers by name, "loss" among them; the model is in evaluation mode.
        with torch.no_grad():
            pairs = [(model(points), labels) for points, labels in self.test]
        scores, labels = (torch.cat(column) for column in zip(*pairs, strict=True))
        right = (scores.argmax(1) == labels).float().mean()
        return {"loss": float(cross_entropy(scores, labels)), "accuracy": float(right)}
