"""The gradient as one flat vector, and which parameters have none."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from detox.tasks.packing import Packing

_NEGATIVE_ZERO = np.uint32(0x80000000)


class Gradient:
    """The gradient of a module's trained parameters, whose `.grad` are parts of one vector (d,).

    Args:
        parameters: the trained ones, float32, in the order of their entries.
        alignment: of their gradients, see Packing.

    Attributes:
        reached: indices of those to which a gradient has come since `forget`.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], alignment: int | None = None) -> None:
        self._parameters = parameters
        self._packing = Packing([p.numel() for p in parameters], parameters[0].device, alignment)
        self._views = self._shaped()
        self.reached: set[int] = set()
        for index, parameter in enumerate(parameters):
            parameter.register_post_accumulate_grad_hook(lambda _, index=index: self.reached.add(index))  # type: ignore[no-untyped-call]
        self.attach()

    @property
    def vector(self) -> torch.Tensor:
        """(d,) float32; a copy where the tensors do not lie one behind the other, as on a GPU."""
        return self._packing.vector

    def attach(self, without: Iterable[int] = ()) -> None:
        """Makes every parameter's `.grad` its part; None for the indices in `without`."""
        for index, (parameter, view) in enumerate(zip(self._parameters, self._views, strict=True)):
            parameter.grad = None if index in without else view

    def attach_anew(self) -> None:
        """The same where the parameters were moved, and their gradients with them, as by a module's to()."""
        self._views = self._shaped()
        self.attach()

    def take_up(self) -> None:
        """After a zero_grad() in the loss the gradients begin anew, at their places."""
        for index, (parameter, view) in enumerate(zip(self._parameters, self._views, strict=True)):
            if parameter.grad is None:
                view.zero_()
                self.reached.discard(index)
                parameter.grad = view

    def forget(self) -> None:
        """From now on no parameter has been reached."""
        self.reached.clear()

    def zero(self) -> None:
        """Makes all of it 0."""
        self._packing.zero()

    def write(self, values: torch.Tensor) -> None:
        """Makes (d,) the gradient."""
        self._packing.write(values)

    def _shaped(self) -> list[torch.Tensor]:
        return [part.view(p.shape) for part, p in zip(self._packing.parts, self._parameters, strict=True)]


def without_gradient(sizes: Sequence[int], votes: np.ndarray, f: int) -> list[int]:
    """Indices of the parameters for which at most f of the votes have a gradient.

    Args:
        sizes: entries of each parameter, d in all.
        votes: (m, at least d) float32; the entries of a parameter that has no gradient are -0.0.
        f: of them may be bad.
    """
    starts = np.cumsum([0, *sizes[:-1]])
    filled = [index for index, size in enumerate(sizes) if size]
    enough = len(votes) - f
    first = (votes[:, starts[filled]].view(np.uint32) == _NEGATIVE_ZERO).sum(axis=0)
    found = []
    for index in (index for index, count in zip(filled, first, strict=True) if count >= enough):
        part = slice(starts[index], starts[index] + sizes[index])
        if np.count_nonzero(unreached(votes, part)) >= enough:
            found.append(index)
    return found


def unreached(votes: np.ndarray, part: slice) -> np.ndarray:
    """(m,) bool: which of the votes, (m, ...) float32, have no gradient in these entries of a parameter."""
    entries = votes[:, part].view(np.uint32)
    found: np.ndarray = entries[:, 0] == _NEGATIVE_ZERO
    found[found] = (entries[found] == _NEGATIVE_ZERO).all(axis=1)
    return found
