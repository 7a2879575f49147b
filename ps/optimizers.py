"""The optimizers of torch.optim, by name."""

from typing import Any

import torch


def create_optimizer(name: str, parameters: list[torch.Tensor], arguments: dict[str, Any]) -> torch.optim.Optimizer:
    """The optimizer `name` of torch.optim.

    Args:
        name: of the class.
        parameters: what it updates.
        arguments: the others of the class, lr among them.

    Raises:
        ValueError: unknown, or it does not take these arguments, or more than a gradient is needed for a step.
    """
    known = optimizers()
    if name not in known:
        raise ValueError(f"optimizer.name: torch.optim has no {name}; it has {', '.join(sorted(known))}")
    toy = torch.nn.Parameter(torch.zeros(1, 1))
    toy.grad = torch.ones(1, 1)
    try:
        known[name]([toy], **arguments).step()  # some want more than dense gradients
        return known[name](parameters, **arguments)
    except Exception as error:  # torch checks few arguments, and the others fail in use as they may
        raise ValueError(f"optimizer: {name}: {error or type(error).__name__}") from None


def kept_by(name: str, arguments: dict[str, Any]) -> int:
    """Vectors as long as the weights that an optimizer keeps from step to step, by a step of its own.

    Raises:
        ValueError: see create_optimizer.
    """
    toy = torch.nn.Parameter(torch.zeros(2, 3))
    toy.grad = torch.ones(2, 3)
    optimizer = create_optimizer(name, [toy], arguments)
    optimizer.step()
    return sum(isinstance(value, torch.Tensor) and value.shape == toy.shape for value in optimizer.state[toy].values())


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """The classes of torch.optim by name."""
    base = torch.optim.Optimizer
    return {n: v for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, base) and v is not base}
