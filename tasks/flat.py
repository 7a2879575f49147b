"""A model as one flat vector: what travels, is voted on and aggregated knows no shapes."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from detox.tasks.aliases import find_aliases
from detox.tasks.batched import Batched, File
from detox.tasks.checks import check_loss, check_model, kind_of, split
from detox.tasks.computing import FILES, Computing
from detox.tasks.devices import seed_torch, to_host
from detox.tasks.exact import ExactBuffers
from detox.tasks.gradient import Gradient, without_gradient
from detox.tasks.guard import Guard, views_of
from detox.tasks.named import load_named
from detox.tasks.packing import Packing
from detox.tasks.task import Task, TaskError
from detox.tasks.users import users_code

Admit = Callable[[int, int], object]


class FlatModel:
    """A module whose weights and gradient are two flat float32 vectors.

    Args:
        module: the model; its tensors become views.
        computing: how gradients are computed; None: a file at once, in float32.
        alignment: of its tensors, see Packing.
        admit: is told d and b before the vectors are made; raises where they would be too long.

    The vector of weights holds the d trainable parameters in the order of `module.parameters()`, a tied one
    once, and behind them the b entries that have to agree without having a gradient: frozen parameters, then
    floating-point buffers such as batch-norm statistics, then the words of the exact buffers: those that are
    integer or boolean, or not finite at the start (see ExactBuffers).

    Attributes:
        module: the model.
        d, b, words: sizes; the words are the last of the b entries.
        exact: the exact buffers.
        gradient: of which every trained parameter's `.grad` is a part.

    Raises:
        TaskError: the model cannot be flat, see check_model, or batched, see Batched.
    """

    def __init__(
        self,
        module: nn.Module,
        computing: Computing | None = None,
        alignment: int | None = None,
        admit: Admit = lambda d, b: None,
    ) -> None:
        check_model(module)
        self.module = module
        self._computing = computing or Computing()
        self._trained, self._kept, exact = split(module)
        everything = [*self._trained.values(), *self._kept.values()]
        device = everything[0].device
        self.exact = ExactBuffers(list(exact.values()), device)
        self.words = self.exact.words
        self.d = sum(t.numel() for t in self._trained.values())
        self.b = sum(t.numel() for t in self._kept.values()) + self.words
        admit(self.d, self.b)
        sizes = [t.numel() for t in everything]
        self._weights = Packing([*sizes, self.words], device, alignment)
        *parts, self._words = self._weights.parts
        aliases = list(find_aliases(module))
        for tensor, part in zip(everything, parts, strict=True):
            view = part.view(tensor.shape)
            view.copy_(tensor.detach())
            tensor.data = view
        for alias in aliases:
            alias.follow()
        self.exact.read(self._words)
        self._tensors = [(t, t.data, t.requires_grad) for t in (*everything, *exact.values())]
        self._before: torch.Tensor | None = None  # kept, for fresh memory is slow
        self.gradient = Gradient(self.trained, alignment)
        self._guard = Guard(module, self._trained)
        self._batched = Batched(module, self.trained) if self._computing.batched else None

    @classmethod
    def build(
        cls,
        task: Task,
        seed: int,
        computing: Computing | None = None,
        admit: Admit = lambda d, b: None,
    ) -> "FlatModel":
        """The task's model, its weights drawn from torch's generator in the state of that seed.

        Args:
            task: makes the model.
            seed: of the weights.
            computing, admit: see FlatModel.

        Raises:
            TaskError: the task makes no model, or one that cannot be flat.
        """
        torch.manual_seed(seed)
        with users_code("build_model"):
            module = task.build_model()
        if not isinstance(module, nn.Module):
            raise TaskError(f"build_model returned {kind_of(module)}; it has to return a torch.nn.Module")
        return cls(module, computing, admit=admit)

    @property
    def weights(self) -> torch.Tensor:
        """(d + b,) float32 on the module's device; a copy where the module is on a GPU."""
        return self._weights.vector

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self._words.device

    @property
    def layout(self) -> list[tuple[str, int]]:
        """Name and entries of each tensor in a vector, in order; exact buffers are one."""
        return [(name, t.numel()) for name, t in (self._trained | self._kept).items()] + [("exact buffers", self.words)]

    @property
    def trained(self) -> list[torch.Tensor]:
        """The trainable parameters, in the order of their entries."""
        return list(self._trained.values())

    @property
    def files_at_once(self) -> int:
        """Files that are computed in one call."""
        return 1 if self._batched is None else FILES

    def load(self, weights: np.ndarray) -> None:
        """Copies in (d + b,) float32."""
        # Torch warns of arrays that must not be written to, such as received messages.
        self.write(0, torch.from_numpy(weights if weights.flags.writeable else weights.copy()))

    def load_named(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copies in what is under the module's own names; see detox.tasks.named.load_named for what it raises."""
        load_named(self.module, tensors)
        self.exact.read(self._words)

    def write(self, begin: int, values: torch.Tensor) -> None:
        """Sets the weights from entry `begin`, which is 0 or d, to the last, and the buffers that are made of them."""
        with torch.no_grad():
            self._weights.write(values, begin)
            self.exact.write(self._words)

    def put_back(self, weights: torch.Tensor) -> None:
        """Makes of all tensors again what they were made at the start, views that are trained or not, and sets them."""
        for tensor, view, requires_grad in self._tensors:
            if (tensor.data_ptr(), tensor.shape, tensor.dtype) != (view.data_ptr(), view.shape, view.dtype):
                tensor.data = view
            tensor.requires_grad_(requires_grad)
        self.gradient.attach_anew()
        self.write(0, weights)

    def compute(self, task: Task, indices: np.ndarray, seed: int) -> np.ndarray:
        """(d + b,) float32: the mean gradient over a file, and behind it the rest as the forward pass leaves it.

        The entries of a parameter that has no gradient (None) are -0.0; zeros in a gradient are +0.0.
        A function of weights, indices and seed alone: the bits do not depend on what was computed before.
        Weights and buffers are left as they were. Torch's global generators are seeded.

        Args:
            task: data and loss.
            indices: (file size,) int64, training samples.
            seed: of augmentation and dropout.

        Raises:
            TaskError: the loss fails or is no scalar with a gradient; it changed a trained parameter, put another
                tensor in the place of one of the model's, or changed which parameters are trained.
        """
        return self.compute_files(task, [(indices, seed)])[0]

    def compute_files(self, task: Task, files: Sequence[File]) -> list[np.ndarray]:
        """What `compute` gives for each of the files, which are of one size; batched, several of them in one call."""
        if self._batched is None:
            return [self.compute_each(task, *file) for file in files]
        calls = [files[begin : begin + FILES] for begin in range(0, len(files), FILES)]
        return [vector for call in calls for vector in self._compute_batch(self._batched, task, call)]

    def _compute_batch(self, batched: Batched, task: Task, files: Sequence[File]) -> list[np.ndarray]:
        before = self._begin()
        found = batched.gradients(task, files, self._computing.forward(self.device))
        self._check(before)
        self.exact.read(self._words)
        rest = self.weights[self.d :]  # once: on a GPU the weights are copied
        vectors = [to_host(torch.cat([gradient, rest])) for gradient in found]
        self.write(self.d, before[self.d :])
        return vectors

    def compute_each(self, task: Task, indices: np.ndarray, seed: int) -> np.ndarray:
        """What `compute` gives where a call has one file, also of a model that computes several in one."""
        before = self._begin()
        self.gradient.forget()
        seed_torch(self.device, seed)
        generator = torch.Generator().manual_seed(seed)
        total: torch.Tensor | None = None
        reached: set[int] = set()
        for piece, part in self._computing.pieces(indices):
            self._differentiate(task, piece, part, generator)
            reached |= self.gradient.reached
            if part < 1:  # apart from the gradients, which the next loss may clear
                total = self.gradient.vector.clone() if total is None else total.add_(self.gradient.vector)
        if total is not None:
            self.gradient.write(total)
        self._check(before)
        self.exact.read(self._words)
        vector = torch.cat([self.gradient.vector, self.weights[self.d :]])
        for index, view in enumerate(views_of(vector, self._trained.values())):
            if index not in reached:
                view.fill_(-0.0)
        self.write(self.d, before[self.d :])
        return to_host(vector)

    def remember(self) -> torch.Tensor:
        """The weights as they are, a copy that is good until the next is asked for."""
        self._before = self.weights.clone() if self._before is None else self._before.copy_(self.weights)
        return self._before

    def _begin(self) -> torch.Tensor:
        """Puts the module into training mode; returns the weights as they are."""
        self.module.train()
        return self.remember()

    def _check(self, before: torch.Tensor) -> None:
        """Raises TaskError where a loss has left the model otherwise than a gradient may."""
        self._guard.check_places()
        if changed := self._guard.changed(before, self.weights):
            self.put_back(before)
            raise TaskError(
                f"the loss or the forward pass changed the model's {changed} in place, and only its gradient "
                "travels. Change parameters in build_model (as an initialisation from data does), or compute with a "
                "changed copy (as a clamp or a norm can be); what a step changes beside the gradient has to be a "
                "buffer, or a parameter that requires no gradient"
            )

    def _differentiate(self, task: Task, indices: np.ndarray, part: float, generator: torch.Generator) -> None:
        """Makes the gradient that of `part` times the loss of these samples."""
        self.gradient.zero()
        with torch.enable_grad():
            with users_code("the loss"), self._computing.forward(self.device):
                loss = task.loss(self.module, indices, generator)
            check_loss(loss)
            self.gradient.take_up()
            with users_code("the loss's backward()"):
                (loss if part == 1 else loss * part).backward()  # type: ignore[no-untyped-call]

    def without_gradient(self, votes: np.ndarray, f: int) -> list[int]:
        """Indices of the trained parameters for which at most f of the votes, (m, d + b), have a gradient."""
        return without_gradient([p.numel() for p in self._trained.values()], votes, f)
