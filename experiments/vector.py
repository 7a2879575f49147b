"""A task that computes next to nothing, with as many parameters as are asked for: what a step takes is its messages."""

import os

import numpy as np
import torch
from torch import nn

from detox.tasks import Task


class Vector(nn.Module):
    """A vector of parameters."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(d))


class VectorTask(Task):
    """How far the parameters are along a normal vector, whose length the samples change; d is VECTOR_D, 1,117,396."""

    def __init__(self, *, device: torch.device) -> None:
        self.device = device
        self.train_size = 10_000
        self._d = int(os.environ.get("VECTOR_D", "1117396"))
        self._direction = torch.randn(self._d, generator=torch.Generator().manual_seed(1)).to(device)

    def build_model(self) -> nn.Module:
        return Vector(self._d).to(self.device)

    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        return (1 + float(indices.mean()) / self.train_size) * (model.entries @ self._direction)

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            return {"loss": float(model.entries @ self._direction)}
