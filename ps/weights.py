"""Files of weights, which plain torch reads: safetensors, and torch's own format."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from detox.errors import UserError
from detox.ps.files import write_safetensors, write_torch

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".safetensors", ".pt")


class WeightsError(UserError):
    """A file of weights that cannot be used; the message says which, and why."""


def write_weights(stem: Path, tensors: dict[str, "Tensor"], facts: dict[str, str]) -> None:
    """Writes STEM.safetensors and STEM.pt, each whole or not at all.

    Args:
        stem: path without ending.
        tensors: by name, on the CPU; none in the memory of another.
        facts: of the header of STEM.safetensors.

    Raises:
        OSError: a file cannot be written; what was there before is left.
    """
    write_safetensors(stem.with_suffix(".safetensors"), tensors, {"format": "pt", **facts})
    write_torch(stem.with_suffix(".pt"), tensors)


def read_weights(path: Path) -> dict[str, "Tensor"]:
    """The tensors in a file of safetensors, or of torch's where it ends otherwise, by name, on the CPU.

    Raises:
        WeightsError: it cannot be read, or holds something else.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if path.suffix == ".safetensors":
            return load(path.read_bytes())
        found = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from None
    except SafetensorError as error:
        raise WeightsError(f"{path} is no file of safetensors: {error}") from None
    except Exception as error:  # damaged bytes can break torch's reader in any way
        why = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path} is no file of weights that torch.load(weights_only=True) takes: {type(error).__name__}: {why}"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        names = ", ".join(map(str, list(found)[:3])) if isinstance(found, dict) else ""
        held = f"a dictionary with {names}" if names else "no dictionary"
        raise WeightsError(f"{path} holds {held}; a state_dict is needed, a tensor under each name")
    return found


def read_facts(path: Path) -> dict[str, str]:
    """The header of a file of safetensors; empty where there is none that can be read."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return dict(header.get("__metadata__", {}))
    except (OSError, ValueError, AttributeError, MemoryError, OverflowError):
        return {}
