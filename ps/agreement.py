"""What the votes about buffers come to, which are no gradient."""

from typing import Any

import numpy as np
import torch

from detox.aggregators import RULES, tolerates
from detox.tasks.exact import ExactBuffers


def agree(votes: Any, f: int, exact: ExactBuffers, words: int) -> Any:
    """(b,), what the votes, (m, b), come to: the coordinate-wise median, and of exact buffers the lower one.

    Args:
        votes: numpy, or a tensor on the model's device.
        f: bad votes to tolerate, as far as the median can.
        exact: the model's.
        words: the last entries, which are theirs.
    """
    end = votes.shape[1] - words
    floats, rest = votes[:, :end], votes[:, end:]
    agreed = floats[0]
    if floats.shape[1]:
        agreed = RULES["median"](floats, f=min(f, tolerates("median", len(votes))))
    if not words:
        return agreed
    found = exact.median(rest if isinstance(rest, np.ndarray) else rest.cpu().numpy())
    floating = torch.as_tensor(agreed)
    return torch.cat([floating, torch.as_tensor(found).to(floating.device)])
