"""Tensors that share memory: those of a model may not, and what else lies in theirs moves with them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import nn

from detox.tasks.task import TaskError


def check_apart(named: Mapping[str, torch.Tensor]) -> None:
    """Raises TaskError where two of the tensors have an element in the same memory."""
    by_storage: dict[int, list[str]] = {}
    for name, tensor in named.items():
        if tensor.numel():
            by_storage.setdefault(tensor.untyped_storage().data_ptr(), []).append(name)
    for names in by_storage.values():
        for one, other in combinations(names, 2):
            if _overlap(named[one], named[other]):
                raise TaskError(
                    f"the model's {one} and {other} are two tensors in the same memory; tie them by assigning one "
                    "parameter to both names"
                )


def _overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    spans = [_span(one), _span(other)]
    if max(begin for begin, _ in spans) >= min(end for _, end in spans):
        return False
    if one.element_size() != other.element_size():
        return True
    taken = torch.zeros(max(end for _, end in spans) // one.element_size(), dtype=torch.bool)
    taken.as_strided(one.shape, one.stride(), one.storage_offset()).fill_(True)
    return bool(taken.as_strided(other.shape, other.stride(), other.storage_offset()).any())


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """Bytes of the storage between the first and behind the last element."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    begin, size = int(tensor.storage_offset()), tensor.element_size()
    return begin * size, (begin + int(last) + 1) * size


@dataclass(frozen=True)
class Alias:
    """A tensor that a module keeps as a plain attribute, in the memory of one of its parameters or buffers.

    Args:
        tensor: the attribute.
        of: the parameter or buffer.
        offset: elements from the latter's first to the former's.
    """

    tensor: torch.Tensor
    of: torch.Tensor
    offset: int

    def follow(self) -> None:
        """Lies in the same place of the parameter again, which has been moved."""
        place = self.of.data.storage_offset() + self.offset
        self.tensor.data = self.of.data.as_strided(self.tensor.shape, self.tensor.stride(), place)


def find_aliases(module: nn.Module) -> Iterator[Alias]:
    """Those of a model, before its tensors are moved.

    Raises:
        TaskError: one of a parameter that is not contiguous, so that it will be laid out otherwise.
    """
    owners = {t.untyped_storage().data_ptr(): (name, t) for name, t in _registered(module).items() if t.numel()}
    known = {id(tensor) for _, tensor in owners.values()}
    for path, part in module.named_modules():
        for attribute, tensor in _plain(vars(part)):
            if id(tensor) in known or not tensor.numel() or tensor.layout != torch.strided:
                continue
            name, owner = owners.get(tensor.untyped_storage().data_ptr(), ("", None))
            if owner is None:
                continue
            if not owner.is_contiguous() or tensor.dtype != owner.dtype:
                where = f"{path}.{attribute}" if path else attribute
                raise TaskError(
                    f"the model's attribute {where} lies in the memory of its {name}, which is moved: make it in the "
                    "forward pass"
                )
            yield Alias(tensor, owner, int(tensor.storage_offset() - owner.storage_offset()))


def _registered(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _plain(attributes: Mapping[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors among a module's attributes, and in its lists, tuples and dictionaries."""
    for name, value in attributes.items():
        if name not in ("_parameters", "_buffers"):
            items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            yield from ((name, item) for item in items if isinstance(item, torch.Tensor))
