"""Which tokens occurred in a row and how often, kept sparsely: what penalties count."""

import numpy as np
from numpy.typing import NDArray

_ROOM = 256
"""Distinct tokens that there is room for at first beyond those of the prompt."""


class Occurrences:
    """Distinct tokens in rising order, each with how often it was generated. Grows in place."""

    def __init__(self, prompt: NDArray[np.int64]) -> None:
        """Take the tokens of the prompt (any,) int64: they occur, and were generated 0 times."""
        distinct = np.unique(prompt)
        self._size = len(distinct)
        self._tokens = np.empty(self._size + _ROOM, np.int64)
        self._generated = np.zeros(self._size + _ROOM, np.float32)
        self._tokens[: self._size] = distinct

    @property
    def tokens(self) -> NDArray[np.int64]:
        """(distinct,) int64, rising: a view, valid until the next `count`."""
        return self._tokens[: self._size]

    @property
    def generated(self) -> NDArray[np.float32]:
        """(distinct,) float32, how often each of `tokens` was generated: a view, valid until the next `count`."""
        return self._generated[: self._size]

    def count(self, token: int) -> None:
        """Take note that a token was generated."""
        size = self._size
        at = int(self._tokens[:size].searchsorted(token))
        if at == size or self._tokens[at] != token:
            if size == len(self._tokens):
                self._tokens = np.concatenate([self._tokens, np.empty(size, np.int64)])
                self._generated = np.concatenate([self._generated, np.zeros(size, np.float32)])
            self._tokens[at + 1 : size + 1] = self._tokens[at:size]
            self._generated[at + 1 : size + 1] = self._generated[at:size]
            self._tokens[at] = token
            self._generated[at] = 0
            self._size = size + 1
        self._generated[at] += 1
