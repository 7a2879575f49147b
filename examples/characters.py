"""A small transformer that predicts the next character of a text. Run it from this folder:

detox-ps launch -n 3 characters.toml
"""

import math
from pydoc_data.topics import topics

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear
from torch.utils.data import Dataset

from detox.tasks import Batches, Task

ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
CONTEXT = 64


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """All stretches of a text: CONTEXT characters, and those that follow each of them."""

    def __init__(self, characters: torch.Tensor, stride: int = 1) -> None:
        self.characters, self.stride = characters, stride

    def __len__(self) -> int:
        return (len(self.characters) - CONTEXT - 1) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        window = self.characters[index * self.stride :][: CONTEXT + 1]
        return window[:-1], window[1:]


class Transformer(nn.Module):
    """Embeddings, causal self-attention with dropout, and the embedding of characters once more to score the next."""

    def __init__(self, width: int = 96, heads: int = 4, layers: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(ALPHABET), width)
        self.places = nn.Embedding(CONTEXT, width)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        for embedding in (self.characters, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        """(n, length) -> (n, length, characters): scores of what comes next at each place."""
        length = characters.shape[1]
        x = self.dropout(self.characters(characters) + self.places.weight[:length])
        mask = nn.Transformer.generate_square_subsequent_mask(length, device=x.device)
        for layer in self.layers:
            x = layer(x, src_mask=mask, is_causal=True)
        return linear(self.norm(x), self.characters.weight)


class CharacterTask(Task):
    """The reference of Python's language, as `help()` shows it: a text that comes with each Python."""

    def __init__(self, *, device: torch.device) -> None:
        text = "\n".join(topics[name] for name in sorted(topics))
        characters = torch.tensor([ALPHABET.index(c) for c in text if c in ALPHABET])
        cut = 9 * len(characters) // 10
        self.device = device
        self.train = Batches(Windows(characters[:cut]), device)
        self.test = Batches(Windows(characters[cut:], stride=CONTEXT), device)
        self.train_size = len(self.train)

    def build_model(self) -> nn.Module:
        return Transformer().to(self.device)

    def loss(self, model: nn.Module, indices: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        before, after = self.train.batch(indices, generator)
        return cross_entropy(model(before).flatten(0, 1), after.flatten())

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        losses, count = 0.0, 0
        with torch.no_grad():
            for before, after in self.test:
                losses += float(cross_entropy(model(before).flatten(0, 1), after.flatten(), reduction="sum"))
                count += after.numel()
        return {"loss": losses / count, "bits_per_character": losses / count / math.log(2)}
