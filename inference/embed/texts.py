"""Requests and their texts while they are inside: a request is answered when the last of its texts is.

A request shows only a run's worth of its texts at a time to what chooses them (inference/tensor/batcher.py), the next
ones when those have gone: so one with thousands of texts does not hold up those that come after it. Texts of like
length are shown together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.embed.tokens import Tokens
from inference.engine import EmbedOutput, EmbedRequest
from inference.tensor.batching import Item, Layout
from scheduler.states import Level

_NO_TOKENS: Final = np.empty(0, np.int64)
_SMALLEST_LENGTH: Final = 1e-12
"""Of a vector: one of zeros is divided by this instead of by nothing."""


@dataclass(slots=True, eq=False)
class Text(Item):
    """One text of a request, as long as it waits or runs."""

    ids: NDArray[np.int64] = field(default_factory=lambda: _NO_TOKENS)
    index: int = 0
    """Its place in the request."""
    truncated: bool = False


class Embedding:
    """One admitted request."""

    def __init__(
        self,
        key: str,
        request: EmbedRequest,
        tokens: Sequence[Tokens],
        layouts: Sequence[Layout],
        came_s: float,
    ) -> None:
        self.key = key
        self._normalize = request.normalize
        self._tokens = tokens
        self._layouts = layouts
        self._level: Level = request.level
        self._came_s = came_s
        # The longest first: what is left over in the end shares runs easily.
        self._order = sorted(range(len(tokens)), key=lambda index: layouts[index].rows)
        self._shown: dict[int, Text] = {}
        self._vectors: NDArray[np.float32] | None = None
        self._missing = len(tokens)
        self.runs = 0
        """Runs that had texts of it."""

    @property
    def texts(self) -> int:
        """How many it has."""
        return len(self._tokens)

    @property
    def shown(self) -> Sequence[Text]:
        """Return those that wait or run."""
        return list(self._shown.values())

    @property
    def ended(self) -> bool:
        """Whether every text has its vector."""
        return not self._missing

    def show(self, budget: int) -> list[Text]:
        """Return the next texts, of `budget` tokens together or a single one; none while others wait or run."""
        if self._shown:
            return []
        tokens = 0
        while self._order:
            index = self._order[-1]
            layout = self._layouts[index]
            tokens += layout.rows
            if self._shown and tokens > budget:
                break
            self._order.pop()
            self._shown[index] = Text(
                self.key,
                {},
                layout,
                layout.bucket,
                self._level,
                self._came_s,
                ids=self._tokens[index].ids,
                index=index,
            )
        return list(self._shown.values())

    def put(self, index: int, vector: NDArray[np.float32]) -> None:
        """Take the vector of a text."""
        if self._vectors is None:
            self._vectors = np.empty((len(self._tokens), len(vector)), np.float32)
        self._vectors[index] = vector
        del self._shown[index]
        self._missing -= 1

    def output(self) -> EmbedOutput:
        """Return the answer, once it has ended."""
        assert self._vectors is not None and self.ended, "every text has its vector"
        vectors = self._vectors
        if self._normalize:
            vectors = normalized(vectors)
        lengths = [len(one.ids) for one in self._tokens]
        return EmbedOutput(vectors, lengths, [one.truncated for one in self._tokens])


def normalized(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each of (texts, dimensions) to length 1."""
    lengths = np.sqrt(np.einsum("td,td->t", vectors, vectors))[:, None]
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(_SMALLEST_LENGTH))
    return scaled
