"""A server's share of the model: its part of the weights, with the optimizer of that part."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from detox.aggregators import Share
from detox.aggregators.stored import Owners
from detox.ps.agreement import agree
from detox.ps.optimizers import create_optimizer
from detox.tasks import FlatModel
from detox.tasks.gradient import unreached
from detox.wire import digest_of


class OwnShare:
    """What one of several servers owns; what Aggregation takes for a model.

    The optimizer has a tensor for each trained parameter of which entries are in the share, those entries; its settings
    are the PS's, which has the schedule.

    Args:
        flat: the model, on the CPU; its weights are changed in the share's range alone.
        share: the range.
        optimizer: class name in torch.optim, one of ELEMENTWISE in detox.ps.elementwise.
        arguments: of the optimizer.
        owners: the other servers.

    Attributes:
        d, b, words: entries of the gradient, of what is behind it, and of the exact buffers at its end, in the share.
        device: the CPU.
        previous: (d,), the last update, kept where the aggregation starts from it.
        owners: as given.
    """

    def __init__(
        self, flat: FlatModel, share: Share, optimizer: str, arguments: dict[str, Any], owners: Owners
    ) -> None:
        self.d, self.b = share.d, share.b
        self.words = flat.words if share.b else 0
        self.device = flat.device
        self.previous: Any = None
        self.owners = owners
        self._flat = flat
        self._weights = flat.weights.detach()[share.range]
        self._gradient = torch.zeros(self.d)
        self._parts = parts_of([p.numel() for p in flat.trained], share)
        self._tensors = [self._weights[part] for _, part in self._parts]
        self._optimizer = create_optimizer(optimizer, self._tensors, arguments)

    @property
    def weights(self) -> np.ndarray:
        """(d + b,) float32: the share."""
        return self._weights.numpy()

    @property
    def digest(self) -> bytes:
        """BLAKE3 of the share."""
        return digest_of(self.weights)

    def set_up(self, settings: dict[str, Any]) -> None:
        """Settings of the optimizer for the next update, lr among them."""
        self._optimizer.param_groups[0].update(settings)

    def agree(self, votes: np.ndarray, f: int) -> Any:
        """(b,), what the votes about buffers, (m, b), come to; see detox.ps.agreement."""
        return agree(votes, f, self._flat.exact, self.words)

    def without_gradient(self, votes: np.ndarray, f: int) -> list[int]:
        """Trained parameters, by index, for which at most f of the votes, (m, d + b), have a gradient in any share."""
        count = len(self._flat.trained)
        without = np.ones((count, len(votes)))
        for index, part in self._parts:
            without[index] = unreached(votes, part)
        # A vote has none where no share has one.
        every = self.owners.gather(without).reshape(-1, count, len(votes)).min(axis=0).sum(axis=1)
        sizes = [p.numel() for p in self._flat.trained]
        return [index for index in range(count) if sizes[index] and every[index] >= len(votes) - f]

    def apply(self, update: Any, buffers: Any, without: Iterable[int] = (), *, remember: bool = False) -> None:
        """One optimizer step; see GlobalModel.apply."""
        left_out = set(without)
        self._gradient.copy_(torch.as_tensor(update))
        for (index, part), tensor in zip(self._parts, self._tensors, strict=True):
            tensor.grad = None if index in left_out else self._gradient[part]
        self._optimizer.step()
        if self.b:
            self._weights[self.d :].copy_(torch.as_tensor(buffers))
        self.previous = update if remember else None

    def state(self) -> dict[str, Any]:
        """All that a checkpoint needs of it: what the optimizer has of each part is in a list."""
        held = self._optimizer.state_dict()["state"]
        return {
            "weights": self._weights.clone(),
            "optimizer": [held.get(place, {}) for place in range(len(self._parts))],
            "previous": None if self.previous is None else torch.as_tensor(self.previous),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of state."""
        self._weights.copy_(state["weights"])
        groups = self._optimizer.state_dict()["param_groups"]
        held = {place: kept for place, kept in enumerate(state["optimizer"]) if kept}
        self._optimizer.load_state_dict({"state": held, "param_groups": groups})
        self.previous = None if state["previous"] is None else state["previous"].numpy()


def parts_of(sizes: Sequence[int], share: Share) -> list[tuple[int, slice]]:
    """The trained parameters of these sizes that have entries in a share, and which of the share's entries they are."""
    found, begin = [], 0
    for index, size in enumerate(sizes):
        low, high = max(begin, share.begin), min(begin + size, share.end)
        if low < high:
            found.append((index, slice(low - share.begin, high - share.begin)))
        begin += size
    return found


def cut_state(model: dict[str, Any], shapes: Sequence[torch.Size], share: Share) -> dict[str, Any]:
    """The state of a share, out of that of a whole model (GlobalModel.state), whose parameters have these shapes."""
    sizes = [shape.numel() for shape in shapes]
    held, starts = model["optimizer"]["state"], np.cumsum([0, *sizes])

    def cut(value: Any, index: int, part: slice) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value.shape != shapes[index]:
            return value.clone()  # each share counts its own steps
        begin = share.begin - int(starts[index])
        return value.reshape(-1)[part.start + begin : part.stop + begin].clone()

    previous = model["previous"]
    return {
        "weights": model["weights"][share.range].clone(),
        "optimizer": [
            {name: cut(value, index, part) for name, value in held.get(index, {}).items()}
            for index, part in parts_of(sizes, share)
        ],
        "previous": None if previous is None else previous[share.begin : share.begin + share.d].clone(),
    }


def join_states(states: Sequence[dict[str, Any]], shapes: Sequence[torch.Size], shared: Sequence[Share]) -> Any:
    """The weights, the optimizer's state by parameter, and the last update of a whole model, out of its shares'."""
    sizes = [shape.numel() for shape in shapes]
    pieces: dict[int, list[tuple[int, dict[str, Any]]]] = {}
    for state, share in zip(states, shared, strict=True):
        for (index, part), held in zip(parts_of(sizes, share), state["optimizer"], strict=True):
            pieces.setdefault(index, []).append((part.stop - part.start, held))

    def join(index: int, name: str) -> Any:
        values = [(size, held[name]) for size, held in pieces[index]]
        if all(isinstance(value, torch.Tensor) and value.shape == (size,) for size, value in values):
            return torch.cat([value for _, value in values]).view(shapes[index])
        return values[0][1]

    optimizer = {
        index: {name: join(index, name) for name in held[0][1]} for index, held in pieces.items() if held[0][1]
    }
    previous = [state["previous"] for state in states]
    return {
        "weights": torch.cat([state["weights"] for state in states]),
        "optimizer": optimizer,
        "previous": None if previous[0] is None else torch.cat(previous),
    }
