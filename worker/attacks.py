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
    sign_flip,
    zero,
)
from detox.worker.knowledge import Knowledge
from detox.worker.stealthy import alie, alie_z, delayed, ipm, mimic, min_max, min_sum, opt_alie, opt_ipm

if TYPE_CHECKING:
    from detox.tasks import Task

Attack = Callable[[Knowledge], np.ndarray]


@dataclass(frozen=True)
class AttackKind:
    """An attack, and what it takes.

    Attributes:
        attack: what to send, (d + b,) float32, from what is known.
        scale: its default strength; None: computed from p and q.
        colludes: whether it needs the other colluders' gradients; they all send the same then.
        remembers: whether it also needs those of all earlier steps, so that all ranks get them in every step.
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


ATTACKS: dict[str, AttackKind] = {
    "reversed": AttackKind(reversed_gradient, 100.0),
    "constant": AttackKind(constant, -100.0),
    "sign_flip": AttackKind(sign_flip, 1.0),
    "zero": AttackKind(zero),
    "gaussian": AttackKind(gaussian, 100.0),
    "nan": AttackKind(not_a_number),
    "inf": AttackKind(infinite),
    "bit_flip": AttackKind(bit_flip, 8.0),
    "label_flip": AttackKind(label_flip, data=lambda task: task.flipped()),
    "alie": AttackKind(alie, None, colludes=True),
    "ipm": AttackKind(ipm, 0.1, colludes=True),
    "opt_alie": AttackKind(opt_alie, 100.0, colludes=True, remembers=True),
    "opt_ipm": AttackKind(opt_ipm, 100.0, colludes=True),
    "min_max": AttackKind(min_max, colludes=True),
    "min_sum": AttackKind(min_sum, colludes=True),
    "mimic": AttackKind(mimic, 20.0, colludes=True, remembers=True),
    "delayed": AttackKind(delayed, 5.0, colludes=True, remembers=True),
}
