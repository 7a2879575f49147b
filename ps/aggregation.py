"""Votes become an update: how many bad ones there may be, whether there are enough, and the aggregation itself."""

from typing import Any

import numpy as np
import torch

from detox.aggregators import AggregatorError, Hierarchy
from detox.assignment import Scheme
from detox.assignment.seeds import stream
from detox.ps.model import GlobalModel
from detox.ps.share import OwnShare


class Aggregation:
    """The hierarchical robust aggregation over the votes of a step (DETOX, Algorithm 1, line 12).

    Args:
        hierarchy: turns votes, (m, d), into an update, (d,).
        scheme: tells how many votes q Byzantine workers can spoil.
        f: bad votes to tolerate per step; None: the most that the Byzantine workers that are left can make.
        seed: of the secret shuffle of the votes.
    """

    def __init__(self, hierarchy: Hierarchy, scheme: Scheme, f: int | None, seed: int) -> None:
        self._hierarchy = hierarchy
        self._scheme = scheme
        self._f = f
        self._seed = seed
        self._verdicts: dict[tuple[int, int], str] = {}

    def bad_votes(self, votes: int, q: int) -> int:
        """The bad votes, of so many, that are tolerated with q Byzantine workers left."""
        return self._scheme.worst_case(q, votes) if self._f is None else self._f

    def too_few(self, votes: int, q: int) -> str:
        """Why so many votes are too few for what they have to tolerate; empty where they are not."""
        if not votes:
            return "there is nothing to aggregate"
        case = votes, self.bad_votes(votes, q)
        if case not in self._verdicts:
            try:
                self._hierarchy.rehearse(*case)
                self._verdicts[case] = ""
            except AggregatorError as error:
                self._verdicts[case] = str(error)
        return self._verdicts[case]

    @property
    def uses_previous(self) -> bool:
        """Whether it starts from the last update."""
        return self._hierarchy.uses("previous")

    def aggregate(self, step: int, votes: np.ndarray, q: int, model: GlobalModel | OwnShare) -> tuple[Any, Any]:
        """The update (d,) and the buffers (b,), arrays, or tensors on the model's GPU; no buffers where it has none.

        Args:
            step: the step.
            votes: (m, d + b) float32, not too few.
            q: Byzantine workers left.
            model: or a share of it, with the votes on that; tells d, the device and the last update, and agrees on
                buffers.
        """
        f, d = self.bad_votes(len(votes), q), model.d
        on_device: Any = votes if model.device.type == "cpu" else torch.from_numpy(votes).to(model.device)
        rng = stream(self._seed, "votes", step)
        update = self._hierarchy(on_device[:, :d], f=f, rng=rng, previous=model.previous, owners=model.owners)
        return update, model.agree(on_device[:, d:], f) if model.b else None

    def apply(self, votes: np.ndarray, q: int, update: Any, buffers: Any, model: GlobalModel | OwnShare) -> None:
        """The optimizer's step along what `aggregate` made of the votes, with these arguments."""
        without = model.without_gradient(votes, self.bad_votes(len(votes), q))
        model.apply(update, buffers, without, remember=self.uses_previous)
