"""Regression on a data set of torch's, which needs no index arithmetic. Run it from this folder:

detox-ps launch -n 3 diabetes.toml
"""

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import TensorDataset, random_split

from detox.tasks import Batches, Task


class DiabetesTask(Task):
    """How far diabetes has come after a year, from ten measurements of the 442 patients that come with scikit-learn."""

    def __init__(self, *, device: torch.device) -> None:
        measured, progression = (torch.tensor(array, dtype=torch.float32) for array in load_diabetes(return_X_y=True))
        whole = TensorDataset(standardised(measured), standardised(progression))
        parts = random_split(
            whole, (342, 100), torch.Generator().manual_seed(0)
        )  # without a seed, each rank has its own
        self.device = device
        self.train, self.test = (Batches(part, device) for part in parts)
        self.train_size = len(self.train)

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(0)).to(self.device)

    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        measured, progression = self.train.batch(indices, generator)
        return mse_loss(model(measured), progression)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            pairs = [(model(measured), progression) for measured, progression in self.test]
        predicted, true = (torch.cat(column) for column in zip(*pairs, strict=True))
        loss = mse_loss(predicted, true)
        return {"loss": float(loss), "r2": float(1 - loss / true.var(correction=0))}


def standardised(values: torch.Tensor) -> torch.Tensor:
    """With mean 0 and variance 1 in each column."""
    return (values - values.mean(0)) / values.std(0)
