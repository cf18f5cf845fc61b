"""One generation: its prompt, what came of it so far, and when it ends."""

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.engine import Chunk, Done, Finish, GenerateOutput, Update
from inference.generate.detokenize import StreamingDetokenizer
from inference.generate.sampling import Sampler
from inference.generate.stops import StopScanner


@dataclass(slots=True)
class Row:
    """State of an admitted request."""

    key: str
    prompt: NDArray[np.int64]
    limit: int
    """Most tokens to generate: max_tokens, or what the context leaves."""
    end_tokens: frozenset[int]
    """Empty when the request ignores them."""
    sampler: Sampler
    detokenizer: StreamingDetokenizer
    stops: StopScanner
    admitted_s: float = field(default_factory=time.monotonic)
    prefilled: int = 0
    """Prompt tokens that the cache holds."""
    generated: list[int] = field(default_factory=list)
    _shown: list[str] = field(default_factory=list)
    _first_token_s: float = 0.0

    @property
    def held(self) -> int:
        """Tokens that the cache holds: the newest generated one goes in with the next run."""
        return self.prefilled + max(0, len(self.generated) - 1)

    def accept(self, logits: NDArray[np.float32]) -> Update:
        """Choose the next token from logits (vocabulary,), and say what that brings: a Chunk, or the end.

        Raises ValueError when the logits are not numbers.
        """
        token = self.sampler.choose(logits)
        if not self.generated:
            self._first_token_s = time.monotonic() - self.admitted_s
        self.generated.append(token)
        if token in self.end_tokens:
            return self._end(Finish.STOP, "", token)
        text = self.stops.feed(self.detokenizer.feed(token))
        if self.stops.stopped:
            return self._end(Finish.STOP, text, token)
        if len(self.generated) >= self.limit:
            return self._end(Finish.LENGTH, text, token)
        self._shown.append(text)
        return Chunk(self.key, text, (token,))

    def _end(self, finish: Finish, text: str, token: int) -> Done:
        """Show what was held back, unless it belongs to a stop string."""
        text += self.stops.feed(self.detokenizer.flush()) + self.stops.flush()
        if self.stops.stopped:
            finish = Finish.STOP
        self._shown.append(text)
        output = GenerateOutput(
            text="".join(self._shown),
            token_ids=tuple(self.generated),
            finish=finish,
            input_tokens=len(self.prompt),
            time_to_first_token_s=self._first_token_s,
        )
        return Done(self.key, output, tail=text, tail_token_ids=(token,))
