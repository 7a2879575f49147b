"""Steps made again, alone and without workers, and compared with what a run has recorded of them."""

from collections.abc import Callable

import numpy as np

from detox.errors.words import counted
from detox.ps.aggregation import Aggregation
from detox.ps.chain import Link, digest_of_update, digest_of_vote, short
from detox.ps.model import GlobalModel
from detox.tasks.samples import Files
from detox.wire import Codec, digest_of


class Replay:
    """A run from one of its checkpoints on.

    Args:
        model: with the weights and the optimizer of the checkpoint; it goes on step by step.
        files: the samples of each step.
        codec: how gradients travelled; votes are what arrived of them.
        create_aggregation: makes the aggregation that tolerates f bad votes; None: the secret seed is not known, so
            that no update can be made.
    """

    def __init__(
        self,
        model: GlobalModel,
        files: Files,
        codec: Codec,
        create_aggregation: Callable[[int], Aggregation] | None,
    ) -> None:
        self._model = model
        self._files = files
        self._codec = codec
        self._create_aggregation = create_aggregation

    def begins(self, link: Link) -> str:
        """Where the weights are others than those that the step began with, in words; empty where they are the same."""
        own = short(digest_of(self._model.weights))
        return "" if own == link.weights else f"it began with the weights {link.weights}, and these are {own}"

    def make(self, link: Link) -> str:
        """Makes the step of a link; where it first differs from what is recorded, in words, and the step is not made.

        Args:
            link: of the next step.
        """
        if why := self.begins(link):
            return why
        samples = self._files.draw(link.step, len(link.votes))
        held = [file for file, vote in enumerate(link.votes) if vote is not None]
        votes = np.empty((len(held), self._model.d + self._model.b), np.float32)
        for row, file in enumerate(held):
            seed = self._files.file_seed(link.step, file)
            votes[row] = self._codec.quantise(self._model.compute(samples[file], seed))
        wrong = [file for row, file in enumerate(held) if digest_of_vote(votes[row]) != link.votes[file]]
        if wrong:
            named = f"file{'s' * (len(wrong) > 1)} {', '.join(map(str, wrong))}"
            rest = counted(len(held) - len(wrong), "other vote")
            return f"what its samples give is not the vote on {named}; {rest} as recorded"
        if link.update is None or self._create_aggregation is None:
            return ""
        aggregation = self._create_aggregation(link.f)
        update, buffers = aggregation.aggregate(link.step, votes, 0, self._model)
        if (own := digest_of_update(update)) != link.update:
            return f"the aggregation makes {own} of the votes, which are as recorded, and the update was {link.update}"
        aggregation.apply(votes, 0, update, buffers, self._model)
        return ""
