"""A module's tensors under the names that plain torch knows them by: those of its state_dict()."""

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from detox.tasks.users import users_code

_SHOWN = 3  # names


def named_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Copies on the CPU of all that state_dict() has; a tied tensor under each of its names.

    What a module adds to it that is no tensor, by get_extra_state(), is left out.
    """
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _state(module).items()}


def load_named(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copies the tensors into those of the module; floats of another precision are converted.

    Raises:
        ValueError: names are missing, unknown, or of another shape or kind; the message goes on after "it".
    """
    if why := _misfit(_state(module), tensors):
        raise ValueError(why)
    with users_code("load_state_dict"):
        module.load_state_dict(dict(tensors), strict=False)


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    with users_code("state_dict"):
        return {name: value for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}


def _misfit(own: dict[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    places: dict[object, list[str]] = {}
    for name, tensor in own.items():
        places.setdefault((tensor.data_ptr(), tensor.shape) if tensor.numel() else name, []).append(name)
    # Of tied tensors one name is enough: some tools write no more.
    missing = [names[0] for names in places.values() if not given.keys() & set(names)]
    other = [
        f"{name}, {_kind(given[name])} where the model has {_kind(tensor)}"
        for name, tensor in own.items()
        if name in given and not _fits(given[name], tensor)
    ]
    unknown = sorted(given.keys() - own.keys())  # safetensors gives them in no order
    parts = [
        f"lacks {_few(missing)}" if missing else "",
        f"has {_few(unknown)}, which the model has not" if unknown else "",
        f"has {_few(other)}" if other else "",
    ]
    return "; ".join(filter(None, parts))


def _fits(given: torch.Tensor, own: torch.Tensor) -> bool:
    alike = given.dtype == own.dtype or (given.is_floating_point() and own.is_floating_point())
    return alike and given.shape == own.shape


def _kind(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
