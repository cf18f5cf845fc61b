"""Measuring a generate engine without the platform around it: the caller steps it."""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.peers.worker import CELLS_A_ROW, rate_of
from inference.engine import Done, Failed, GenerateOutput, GenerateRequest, StepTimes
from inference.generate import GenerateEngine

CONTEXT = 2048
"""Context length of engines that are measured: many slots of it fit into any machine's memory."""
LONG_ENOUGH = 1000
"""Tokens of an answer that does not end while it is measured."""


class Prompts:
    """Makes prompts of exact length in tokens, no two of which begin alike, so no cache knows them."""

    def __init__(self, folder: Path) -> None:
        """Take the tokenizer of a model folder."""
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._number = itertools.count()

    def make(self, tokens: int) -> str:
        """Return a new prompt of so many tokens, the model's begin marker included. Needs a dozen at least."""
        text = f"{next(self._number)}:"
        return text + " water" * (tokens - len(self._tokenizer.encode(text).ids))


@dataclass(slots=True)
class Bench:
    """An engine, and when the tokens of each request came."""

    engine: GenerateEngine
    prompts: Prompts
    arrivals: dict[str, list[float]] = field(default_factory=dict)
    """Moments of the steps that brought tokens, by request."""
    outputs: dict[str, GenerateOutput] = field(default_factory=dict)

    def admit(self, key: str, prompt: str, max_tokens: int) -> None:
        """Take a request in that does not end before it has all its tokens."""
        self.arrivals[key] = []
        self.engine.admit(key, GenerateRequest(prompt=prompt, max_tokens=max_tokens, ignore_eos=True))

    def step(self) -> int:
        """Step the engine; return how many tokens came."""
        updates = self.engine.step()
        now_s = time.perf_counter()
        tokens = 0
        for update in updates:
            if isinstance(update, Failed):
                raise update.error
            chunk = update.tail if isinstance(update, Done) else update
            if isinstance(update, Done):
                assert isinstance(update.output, GenerateOutput)
                self.outputs[update.key] = update.output
            if chunk is not None and chunk.token_ids:
                tokens += len(chunk.token_ids)
                self.arrivals[chunk.key].append(now_s)
        return tokens

    def step_until_first(self, *keys: str) -> None:
        """Step until requests have their first tokens."""
        while not all(self.arrivals[key] for key in keys):
            self.step()

    def first_token_s(self, prompt: str) -> float:
        """Return seconds from a prompt's arrival at an idle engine to its first and only token."""
        began_s = time.perf_counter()
        self.admit("first", prompt, 1)
        self.step_until_first("first")
        return self.arrivals["first"][0] - began_s

    @contextmanager
    def generating(self, rows: int, prompt_tokens: int) -> Iterator[list[str]]:
        """Have rows generate inside the block, from prompts that are read before it; yields their keys."""
        keys = [f"row {row}" for row in range(rows)]
        for key in keys:
            self.admit(key, self.prompts.make(prompt_tokens), LONG_ENOUGH)
        self.step_until_first(*keys)
        self.step()
        try:
            yield keys
        finally:
            for key in list(self.arrivals):
                self.engine.cancel(key)
            self.arrivals.clear()

    def decode_rate(self, rows: int, seconds: float, prompt_tokens: int) -> float:
        """Return tokens a second of all rows together, each behind a prompt of that length.

        Rows grow as long as those of the peers and no longer: attention takes its time for every token before.
        """
        with self.generating(rows, prompt_tokens):
            return rate_of(self.step, seconds=seconds, most_steps=CELLS_A_ROW - prompt_tokens - 2)

    def prefill_rate(self, tokens: int, times: int) -> float:
        """Return prompt tokens a second until the first token: of several times the best."""
        return max(tokens / self.first_token_s(self.prompts.make(tokens)) for _ in range(times))


@dataclass(frozen=True, slots=True)
class StepProfile:
    """The medians of some steps, in seconds."""

    whole_s: float
    run_s: float
    """Inside the runtime: the model's run itself, however the engine accounts for it."""
    times: StepTimes
    """What the engine says."""


def profile(bench: Bench, rows: int, steps: int, prompt_tokens: int = 64) -> StepProfile:
    """Return where steps of so many rows spend their time."""
    whole, run, times = [], [], []
    with timed_runs() as spent, bench.generating(rows, prompt_tokens):
        for _ in range(steps):
            spent.clear()
            began_s = time.perf_counter()
            bench.step()
            whole.append(time.perf_counter() - began_s)
            run.append(sum(spent))
            times.append(bench.engine.times)
    median = statistics.median
    return StepProfile(
        median(whole),
        median(run),
        StepTimes(
            decode_s=median(one.decode_s for one in times),
            sample_s=median(one.sample_s for one in times),
            other_s=median(one.other_s for one in times),
            decode_rows=rows,
        ),
    )


@contextmanager
def timed_runs() -> Iterator[list[float]]:
    """Yield a list to which every run of every session of ONNX Runtime adds its seconds, inside the block."""
    import onnxruntime

    spent: list[float] = []
    session = onnxruntime.InferenceSession
    run = session.run_with_iobinding

    def timed(*arguments: Any, **named: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return run(*arguments, **named)
        finally:
            spent.append(time.perf_counter() - began_s)

    session.run_with_iobinding = timed
    try:
        yield spent
    finally:
        session.run_with_iobinding = run


def largest_gap(moments: Sequence[float], since_s: float) -> float:
    """Return the longest time between two tokens, of those after a moment."""
    later = [moment for moment in moments if moment >= since_s]
    return max((after - before for before, after in itertools.pairwise(later)), default=0.0)
