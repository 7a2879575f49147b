"""Classification with a model of one's own: model, data and loss in one class. Run it from this folder:

detox-ps launch -n 3 wine.toml
"""

import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn
from torch.nn.functional import cross_entropy

from detox.tasks import Task


class WineTask(Task):
    """Softmax regression on the 178 wines that come with scikit-learn."""

    def __init__(self, *, device: torch.device) -> None:
        features, labels = load_wine(return_X_y=True)
        features = (features - features.mean(axis=0)) / features.std(axis=0)
        order = np.random.default_rng(0).permutation(len(labels))
        self.device = device
        self.features = torch.tensor(features[order], dtype=torch.float32, device=device)
        self.labels = torch.tensor(labels[order], device=device)
        self.train_size = 140

    def build_model(self) -> nn.Module:
        return nn.Linear(13, 3).to(self.device)

    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        chosen = torch.as_tensor(indices).to(self.device)
        return cross_entropy(model(self.features[chosen]), self.labels[chosen])

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            scores, labels = model(self.features[self.train_size :]), self.labels[self.train_size :]
            right = (scores.argmax(1) == labels).float().mean()
            return {"loss": float(cross_entropy(scores, labels)), "accuracy": float(right)}
