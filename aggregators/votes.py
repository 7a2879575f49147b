"""The votes as the rules read them, by numba's kernels where these can."""

import functools
import warnings
from typing import TYPE_CHECKING

from detox.aggregators.arguments import integer
from detox.aggregators.arrays import Array, served
from detox.aggregators.errors import AggregatorError
from detox.aggregators.rows import FAST_FROM, Rows
from detox.aggregators.stored import Owners

if TYPE_CHECKING:
    from detox.aggregators.kernels.fast import FastRows


def as_rows(gradients: Array, threads: int = 1, owners: Owners | None = None) -> Rows:
    """The votes (n, d) as `Rows`, in the fastest form for where they lie; see Stored.

    All owners of votes take the same form, that of one owner of all: kernels round otherwise than `Rows` do.
    """
    gradients, threads = served(gradients, "gradients"), integer("threads", threads, least=1)
    if gradients.ndim != 2 or 0 in gradients.shape:
        raise AggregatorError(f"gradients must have shape (n, d), neither 0; got {tuple(gradients.shape)}")
    width = gradients.shape[1] if owners is None else owners.width
    if gradients.shape[0] * width >= FAST_FROM:
        kernels = _kernels()
        if kernels is not None and kernels.serves(gradients):
            return kernels(gradients, threads, None, owners)
    return Rows(gradients, threads, None, owners)


@functools.cache
def _kernels() -> "type[FastRows] | None":
    """`FastRows`, which imports numba; None where numba does not work."""
    try:
        from detox.aggregators.kernels.fast import FastRows
    except Exception as error:  # what is missing or broken in a compiler may raise anything
        message = f"numba cannot be used, so aggregation takes many times as long: {type(error).__name__}: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        return None
    return FastRows
