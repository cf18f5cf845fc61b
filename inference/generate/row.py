"""One generation: a prompt, and one row for each of the answers that were asked for."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inference.engine import Choice, Chunk, Done, Finish, GenerateOutput, TokenLogprob
from inference.generate.constraints import Constraint
from inference.generate.detokenize import StreamingDetokenizer
from inference.generate.parking import Parked
from inference.generate.prefix_cache import Hit
from inference.generate.sampling import SamplerState
from inference.generate.stops import StopScanner
from scheduler.states import Level

NO_SLOT = -1


@dataclass(slots=True, eq=False)
class Row:
    """One answer in the making: what the model has seen of it, and what came of it so far."""

    generation: "Generation"
    index: int
    """Number of the answer within its request."""
    sampler: SamplerState
    detokenizer: StreamingDetokenizer
    stops: StopScanner
    constraint: Constraint | None = None
    order: int = 0
    """Rows that came first have lower numbers."""
    slot: int = NO_SLOT
    held: int = 0
    """Tokens that the cache holds: the newest generated one goes in with the next run."""
    parked: Parked | None = None
    """What the cache held when the row was paused."""
    cached: int = 0
    """Prompt tokens that came from the prefix cache."""
    known: Hit | None = None
    """What the prefix cache has of its prompt; None until it was looked up."""
    generated: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: Finish | None = None
    _shown: list[str] = field(default_factory=list)

    @property
    def level(self) -> Level:
        """How urgent it is."""
        return self.generation.level

    @property
    def left(self) -> int:
        """Prompt tokens that are not read."""
        return 0 if self.generated else len(self.generation.prompt) - self.held

    @property
    def reads(self) -> bool:
        """Whether it has not read all of its prompt."""
        return not self.generated

    @property
    def allowed(self) -> int:
        """Tokens that it may still generate."""
        return self.generation.limit - len(self.generated)

    def accept(self, token: int, logprob: TokenLogprob | None) -> Chunk:
        """Take the chosen token and return what it brings; `finish` is set when the answer ends with it."""
        generation = self.generation
        if not generation.first_token_s:
            generation.first_token_s = time.monotonic() - generation.admitted_s
        self.generated.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        text = ""
        if token in generation.end_tokens:
            self.finish = Finish.STOP
        else:
            text = self.stops.feed(self.detokenizer.feed(token))
            if self.stops.stopped or self._completes(token):
                self.finish = Finish.STOP
            elif not self.allowed:
                self.finish = Finish.LENGTH
        if self.finish is not None:
            # What was held back is shown, unless it belongs to a stop string.
            text += self.stops.feed(self.detokenizer.flush()) + self.stops.flush()
            if self.stops.stopped:
                self.finish = Finish.STOP
        self._shown.append(text)
        return Chunk(
            generation.key, text, (token,), self.index, () if logprob is None else (logprob,), self.finish
        )

    def choice(self) -> Choice:
        """Return the whole answer of a row that has ended."""
        assert self.finish is not None
        return Choice("".join(self._shown), tuple(self.generated), self.finish, tuple(self.logprobs))

    def _completes(self, token: int) -> bool:
        """Tell the constraint of a token; return whether nothing can follow it."""
        if self.constraint is None:
            return False
        self.constraint.accept(token)
        return self.constraint.ended


@dataclass(slots=True, eq=False)
class Generation:
    """What the answers to one request share."""

    key: str
    prompt: NDArray[np.int64]
    limit: int
    """Most tokens of an answer: max_tokens, or what the context leaves."""
    end_tokens: frozenset[int]
    """The model's, unless the request ignores them, and the request's own."""
    level: Level
    tenant: str
    rows: Sequence[Row] = ()
    compiling: Sequence["Future[Constraint]"] = ()
    """The constraint of each row, when the answers are constrained."""
    admitted_s: float = field(default_factory=time.monotonic)
    first_token_s: float = 0.0
    """From admission to the first token of any answer; 0 before."""

    @property
    def compiled(self) -> bool:
        """Whether nothing more is to be compiled for it."""
        return all(future.done() for future in self.compiling)

    def constrain(self) -> None:
        """Give each row its constraint, now that they are compiled. Raises InvalidInput when they are of no use."""
        for row, future in zip(self.rows, self.compiling, strict=False):
            row.constraint = future.result()

    def done(self, tail: Chunk) -> Done | None:
        """Return the end of the request once all its answers have ended; `tail` is what came last."""
        if any(row.finish is None for row in self.rows):
            return None
        output = GenerateOutput(
            choices=[row.choice() for row in self.rows],
            input_tokens=len(self.prompt),
            time_to_first_token_s=self.first_token_s,
            cached_tokens=self.rows[0].cached,
        )
        return Done(self.key, output, tail)
