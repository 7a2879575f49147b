"""A task with parameters enough for four servers, and a model with batch norm and a layer that no loss reaches."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from detox.tasks import Task


class Wide(Task):
    """Cross entropy on random numbers; d = 1,083,685, of which one tensor has 1,048,576 entries in a row."""

    train_size = 60

    def __init__(self, device):
        self.device = device
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn((60, 8), generator=generator), torch.arange(60) % 3

    def build_model(self):
        class Net(nn.Sequential):
            def __init__(self):
                super().__init__(nn.Linear(8, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 8192), nn.ReLU())
                self.idle = nn.Linear(30, 30)
                self.head = nn.Linear(8192, 3)

            def forward(self, x):
                for layer in list(self)[:5]:
                    x = layer(x)
                return self.head(x)

        return Net()

    def loss(self, model, indices, generator):
        return cross_entropy(model(self.x[indices]), self.y[indices])

    def evaluate(self, model):
        return {"loss": cross_entropy(model(self.x), self.y)}
