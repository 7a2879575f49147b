"""Arrays of numpy and torch as the rules take them."""

from typing import Any, TypeAlias

import array_api_compat
import numpy as np
import numpy.typing as npt

from detox.aggregators.errors import AggregatorError

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""
Floats: TypeAlias = npt.NDArray[np.float64]
Index: TypeAlias = npt.NDArray[np.intp]

DTYPES = ("float16", "bfloat16", "float32", "float64")


def served(x: Array, name: str) -> Array:
    """The array or tensor as it can be read: without a graph, a lazy sign or a subclass of its own.

    Raises:
        AggregatorError: it is something else, or its dtype, layout or device cannot be served.
    """
    tensor = array_api_compat.is_torch_array(x)
    if isinstance(x, np.ma.MaskedArray) or not (tensor or isinstance(x, np.ndarray)):
        raise AggregatorError(f"{name} must be a numpy array or a torch tensor, got {type(x).__name__}")
    dtype = str(x.dtype).removeprefix("torch.") if tensor else x.dtype.name
    if dtype not in DTYPES:
        raise AggregatorError(f"{name} must be of a floating dtype, got {dtype} (served: {', '.join(DTYPES)})")
    if not tensor:
        return np.asarray(x)
    if x.device.type == "meta":
        raise AggregatorError(f"{name} must have values, got a tensor on the device meta")
    if str(x.layout) != "torch.strided":
        raise AggregatorError(f"{name} must be dense, got a tensor of layout {x.layout}")
    return x.detach().resolve_neg()


def on_host(x: Array) -> Floats:
    """The array on the host, float64."""
    host = x.cpu().double().numpy() if array_api_compat.is_torch_array(x) else x
    return np.asarray(host, np.float64)
