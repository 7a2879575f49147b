"""The models: functions of an image's shape (channels, height, width) and the number of classes."""

from collections.abc import Callable

import torch
from torch import nn

from detox.tasks.task import TaskError

Shape = tuple[int, int, int]


def softmax(shape: Shape, classes: int) -> nn.Module:
    """Softmax regression: one linear layer."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes))


def mlp(shape: Shape, classes: int) -> nn.Module:
    """One hidden layer of 128 rectified linear units."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 128), nn.ReLU(), nn.Linear(128, classes))


def fc_mnist(shape: Shape, classes: int) -> nn.Module:
    """One hidden layer of 100 rectified linear units, byzfl's model of that name."""
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 100), nn.ReLU(), nn.Linear(100, classes))


def cnn_mnist(shape: Shape, classes: int) -> nn.Module:
    """Two convolutions and two layers, byzfl's model of that name; 431,080 parameters for MNIST."""
    channels, height, width = shape
    if min(height, width) < 16:
        raise TaskError(f"model cnn_mnist needs images of 16 x 16 or more, these are {height} x {width}; take mlp")
    after = ((height - 4) // 2 - 4) // 2 * (((width - 4) // 2 - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(50 * after, 500), nn.ReLU(), nn.Linear(500, classes),
    )  # fmt: skip


def lenet(shape: Shape, classes: int) -> nn.Module:
    """LeNet-5 (LeCun et al. 1998) with rectified linear units, max pooling; 61,706 parameters for MNIST."""
    channels, height, width = shape
    if min(height, width) < 12:
        raise TaskError(f"model lenet needs images of 12 x 12 or more, these are {height} x {width}; take mlp")
    after = ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * after, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
    )  # fmt: skip


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet8(shape: Shape, classes: int) -> nn.Module:
    """ResNet-8: a block each of 16, 32 and 64 channels (He et al. 2016, for CIFAR); 77,754 parameters for MNIST."""
    layers: list[nn.Module] = [nn.Conv2d(shape[0], 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [ResidualBlock(16, 16, 1), ResidualBlock(16, 32, 2), ResidualBlock(32, 64, 2)]
    return nn.Sequential(*layers, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def resnet18(shape: Shape, classes: int) -> nn.Module:
    """ResNet-18 with a 3 x 3 stem and no pooling before the blocks; 11,173,962 parameters for CIFAR-10."""
    layers: list[nn.Module] = [
        nn.Conv2d(shape[0], 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
    ]  # fmt: skip
    inputs = 64
    for outputs in (64, 128, 256, 512):
        stride = 1 if outputs == 64 else 2
        layers += [ResidualBlock(inputs, outputs, stride), ResidualBlock(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def vgg13(shape: Shape, classes: int) -> nn.Module:
    """VGG13, batch norm, one linear layer; 9,416,010 parameters for CIFAR-10, 9,462,180 for CIFAR-100."""
    channels, height, width = shape
    if (height, width) != (32, 32):
        raise TaskError(f"model vgg13 needs images of 32 x 32, these are {height} x {width}")
    layers: list[nn.Module] = []
    inputs = channels
    for outputs in (64, 128, 256, 512, 512):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, classes))


MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "softmax": softmax,
    "mlp": mlp,
    "fc_mnist": fc_mnist,
    "cnn_mnist": cnn_mnist,
    "lenet": lenet,
    "resnet8": resnet8,
    "resnet18": resnet18,
    "vgg13": vgg13,
}
