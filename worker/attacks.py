"""Every attack by name. To add one: a function of a Knowledge that returns (d + b,) float32, and its line here.

Buffers such as batch-norm statistics, the last b entries, are attacked like the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detox.worker.blatant import (
    bit_flip,
    constant,
    gaussian,
    infinite,
    label_flip,
    not_a_number,
    reversed_gradient,
    zero,
)
from detox.worker.knowledge import Knowledge
from detox.worker.stealthy import alie, alie_z, delayed, ipm, mimic, min_max, min_sum, opt_alie, opt_ipm

if TYPE_CHECKING:
    from detox.tasks import Task

Attack = Callable[[Knowledge], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """An attack, and what it takes.

    Attributes:
        attack: what to send.
        scale: its default strength; None: computed from p and q.
        colludes: whether it needs the other colluders' gradients; they all send the same then.
        remembers: whether it also needs those of all earlier steps.
        data: what Byzantine workers train on in place of the task.
    """

    attack: Attack
    scale: float | None = 1.0
    colludes: bool = False
    remembers: bool = False
    data: "Callable[[Task], Task] | None" = None

    def strength(self, p: int, q: int) -> float:
        """The default scale where q of p workers are Byzantine."""
        return alie_z(p, q) if self.scale is None else self.scale


ATTACKS: dict[str, Kind] = {
    "reversed": Kind(reversed_gradient, 100.0),
    "constant": Kind(constant, -100.0),
    "sign_flip": Kind(reversed_gradient, 1.0),
    "zero": Kind(zero),
    "gaussian": Kind(gaussian, 100.0),
    "nan": Kind(not_a_number),
    "inf": Kind(infinite),
    "bit_flip": Kind(bit_flip, 8.0),
    "label_flip": Kind(label_flip, data=lambda task: task.flipped()),
    "alie": Kind(alie, None, colludes=True),
    "ipm": Kind(ipm, 0.1, colludes=True),
    "opt_alie": Kind(opt_alie, 100.0, colludes=True),
    "opt_ipm": Kind(opt_ipm, 100.0, colludes=True),
    "min_max": Kind(min_max, colludes=True),
    "min_sum": Kind(min_sum, colludes=True),
    "mimic": Kind(mimic, 20.0, colludes=True, remembers=True),
    "delayed": Kind(delayed, 5.0, colludes=True, remembers=True),
}
