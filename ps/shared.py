"""The PS's model where further servers own parts of it."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from detox.ps.model import GlobalModel
from detox.ps.servers import Servers
from detox.ps.share import OwnShare, cut_state, join_states


class SharedModel(GlobalModel):
    """The whole model for evaluations and checkpoints, of which the PS's own share alone is always up to date.

    Args:
        optimizer, arguments, more: see GlobalModel.

    Attributes:
        servers: the others, once the model is shared.
    """

    servers: Servers | None = None

    def __init__(self, *args: Any, optimizer: str, arguments: dict[str, Any], **more: Any) -> None:
        super().__init__(*args, optimizer=optimizer, arguments=arguments, **more)
        self._made_of = optimizer, arguments
        self._own: OwnShare | None = None
        self._fresh = True
        self._secret = 0

    def share(self, servers: Servers, secret: int) -> None:
        """From now on these servers own a share each, and begin with the weights as they are.

        Args:
            servers: the others.
            secret: seed of the shuffle of the votes.
        """
        self.servers, self._secret = servers, secret
        state = super().state()
        self._own = OwnShare(self._flat, servers.shares[0], *self._made_of, servers)
        self._spread(servers, state)

    @property
    def own(self) -> GlobalModel | OwnShare:
        """See GlobalModel."""
        return self if self._own is None else self._own

    def begin_update(self, kept: Sequence[int], f: int) -> None:
        """See GlobalModel."""
        assert self.servers is not None
        assert self._own is not None
        settings = self._schedule.settings
        self.servers.update(kept, f, settings)
        self._own.set_up(settings)

    def end_update(self) -> None:
        """See GlobalModel; the weights that are here of the others are old then."""
        assert self.servers is not None
        self.servers.await_update()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the whole model's optimizer has made no step
            with self._schedule.update():
                pass
        self._fresh = False

    @property
    def weights(self) -> Any:
        """See GlobalModel; those of the other servers are brought here if need be."""
        self._complete()
        return super().weights

    def named(self) -> dict[str, torch.Tensor]:
        """See GlobalModel."""
        self._complete()
        return super().named()

    def evaluate(self) -> dict[str, float]:
        """See GlobalModel."""
        self._complete()
        return super().evaluate()

    def state(self) -> dict[str, Any]:
        """What a model of one server would have, whose checkpoint it is."""
        if self.servers is None:
            return super().state()
        joined = join_states([self.own.state(), *self.servers.states(whole=True)], self._shapes, self.servers.shares)
        self._write(joined["weights"])
        groups = self._optimizer.state_dict()["param_groups"]
        joined["optimizer"] = {"state": joined["optimizer"], "param_groups": groups}
        return {**joined, "schedule": self._schedule.state(), "mean": None}

    def restore(self, state: dict[str, Any]) -> None:
        """See GlobalModel; each server gets its share."""
        if self.servers is None:
            super().restore(state)
            return
        bare = {**state["optimizer"], "state": {}}  # the servers have it
        super().restore({**state, "optimizer": bare, "previous": None})
        self._spread(self.servers, state)

    def _spread(self, servers: Servers, state: dict[str, Any]) -> None:
        states = [cut_state(state, self._shapes, share) for share in servers.shares]
        self.own.restore(states[0])
        servers.begin_run(states, self._secret)
        self._fresh = True

    @property
    def _shapes(self) -> list[torch.Size]:
        return [parameter.shape for parameter in self._flat.trained]

    def _complete(self) -> None:
        if not self._fresh and self.servers is not None:
            states = [self.own.state(), *self.servers.states(whole=False)]
            self._write(torch.cat([state["weights"] for state in states]))

    def _write(self, weights: torch.Tensor) -> None:
        self._flat.write(0, weights)
        self._fresh = True
