"""The engine for models with named tensors: requests that fit together share a run.

Comes from `inference.loading`; requests come from and updates go to the runner's engine thread. What runs next is
decided in `batcher.py`; how requests become arrays of the model and back, in `requests.py` and `answers.py`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from inference.engine import (
    Array,
    Done,
    EmbedRequest,
    Failed,
    Request,
    RunCounts,
    TensorOutput,
    TensorRequest,
    Update,
)
from inference.repository.definition import ModelDefinition
from inference.settings import EngineSettings
from inference.tensor.batch_runs import BatchRuns, Lost, Ran
from inference.tensor.batching import Item, Names, join
from inference.tensor.counting import RunCounter
from inference.tensor.first_runs import warm_up
from inference.tensor.held import Held
from inference.tensor.opening import Parts, open_parts
from inference.tensor.short_runs import ShortRuns
from scheduler.errors import InvalidInput
from scheduler.policies.policy import Policy


class TensorEngine:
    """One ONNX model behind the Engine protocol. `runs` and `interrupt` may be called from any thread."""

    def __init__(self, parts: Parts, clock: Callable[[], float] = time.monotonic) -> None:
        self.card = parts.card
        """What is known of the model."""
        self._parts = parts
        self._pace = parts.pace
        self._requests = parts.requests
        self._answers = parts.answers
        self._batcher = parts.batcher
        self._sequences = parts.sequences
        self._ragged = parts.ragged
        self._clock = clock
        self._counter = RunCounter()
        self._held = Held(parts.batcher, parts.sequences)
        self._runs = BatchRuns[Item](parts.model)
        alike = not parts.ragged and parts.sequences is None
        self._short = ShortRuns(alike and parts.model.sized_by_shape)

    @classmethod
    def open(
        cls,
        path: Path,
        settings: EngineSettings,
        report: Callable[[str], None],
        definition: ModelDefinition | None = None,
        model_file: Path | None = None,
    ) -> "TensorEngine":
        """Load a model from a path that `inference.artifacts` accepts, or `model_file` inside it.

        `definition` says how it is served. Raises ModelUnusable with the file and the cause, RuntimeMissing.
        """
        file = path if model_file is None else path / model_file
        return cls(open_parts(file, settings, report, definition or ModelDefinition()))

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once; follows how long runs take."""
        return self._pace.requests

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        return len(self._held)

    @property
    def together(self) -> int:
        """How many requests one run takes at most; follows how long runs take. 1 where each runs alone."""
        return max(1, self._most_rows)

    @property
    def due_s(self) -> float:
        """Return the monotonic time before which a step would do nothing unless more is admitted; 0 for at once."""
        if self._runs or self._held.any_lost or self.active >= self.capacity:
            return 0.0
        return self._batcher.due_s(self._most_rows)

    def short(self, requests: Iterable[Request]) -> bool:
        """Tell, while nothing is admitted, whether taking in these and stepping is known to be over at once."""
        inputs = []
        for request in requests:
            if type(request) is not TensorRequest:
                return False
            inputs.append(request.inputs)
        return bool(inputs) and self._short.known(inputs)

    @property
    def _most_rows(self) -> int:
        """Most rows of a run; 0 where every request runs alone."""
        return self._pace.rows if self._requests.share else 0

    def follow(self, policy: Policy) -> None:
        """Choose by another policy from now on."""
        self._batcher.follow(policy)

    def counts(self) -> RunCounts:
        """Return what was counted since the model was loaded."""
        return self._counter.counts()

    def admit(self, key: str, request: Request) -> None:
        """Take a request in. Raises InvalidInput with every fault, fields as paths inside TaskSpec; of a model with
        state also SequenceUnknown, and Overloaded when it keeps too many.
        """
        if type(request) is not TensorRequest:
            kind = "embed" if isinstance(request, EmbedRequest) else "generate"
            raise InvalidInput.of(kind, "the model takes tensors, not a prompt")
        if key in self._held:
            raise ValueError(f"{key} is already admitted")
        self._held.add(self._requests.read(key, request, self._clock()), request.tenant)

    def cancel(self, key: str) -> None:
        """Forget a request that does not run now. Unknown keys are ignored."""
        self._runs.forget(key)
        self._held.cancel(key)

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have the keys of each batch told before it is run, on the thread that steps."""
        self._runs.tell(tell)

    def runs(self, key: str) -> bool:
        """Tell, on any thread, whether a request runs now."""
        return self._runs.contains(key)

    def interrupt(self, key: str) -> None:
        """Cancel a request that is running, from any thread; its neighbours run again without it.

        The run stops before its next operator. Does nothing when the request does not run now.
        """
        self._runs.interrupt(key)

    def step(self) -> Sequence[Update]:
        """Run one batch. When it fails its halves run in later steps, until the request at fault is alone."""
        if lost := self._held.take_lost():
            return lost
        batch = self._runs.next(self._take)
        if not batch:
            return []
        began_s = time.perf_counter()
        names = self._answers.names(batch)
        try:
            ran = self._runs.run(batch, names, self._feeds)
            parts = self._answers.parts(batch, ran.outputs, names)
        except Exception as error:  # whatever the provider raises: it concerns these requests only
            return self._let_go(self._runs.failed(batch, error))
        rows = sum([item.layout.rows for item in batch])
        self._pace.ran(rows, ran.input_s + ran.infer_s, full=not self._requests.share)
        if parts is None:
            # From now on one request a run: this model's first dimension is not one of requests.
            self._requests.share = False
            return self._let_go(self._runs.apart(batch))
        updates, answered_rows = self._finish(batch, names, ran, parts)
        self._batcher.ran(len(batch), self._clock())
        ended_s = time.perf_counter()
        output_s = ended_s - ran.ended_s
        self._short.ran([item.inputs for item in batch], ended_s - began_s)
        self._counter.ran(rows, (len(updates), answered_rows), ran.input_s, ran.infer_s, output_s)
        return updates

    def warm_up(self) -> None:
        """Run what the configuration says, or made-up input. Raises ModelUnusable when a sample does not run."""
        warm_up(self._parts, self._feeds)

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        self._parts.model.close()
        self._runs.clear()
        self._held.clear()

    def _take(self) -> list[Item]:
        # When no more can be admitted there is nothing to wait for.
        hurry = self._batcher.delays and self.active >= self.capacity
        return self._batcher.take(self._most_rows, self._clock(), hurry=hurry)

    def _feeds(self, batch: Sequence[Item]) -> dict[str, Array]:
        feeds = join(batch, self._ragged)
        if self._sequences is not None:
            feeds |= self._sequences.feeds(batch)
        return feeds

    def _finish(
        self, batch: Sequence[Item], names: Names, ran: Ran, parts: Sequence[TensorOutput]
    ) -> tuple[list[Update], int]:
        """Let go of what ran; return the answers, and how many rows were answered."""
        gone = self._runs.take_interrupted()
        if self._sequences is not None:
            self._sequences.keep(batch, dict(zip(names, ran.outputs, strict=True)), gone)
        count = len(batch)
        updates: list[Update] = []
        rows = 0
        for item, part in zip(batch, parts, strict=True):
            self._held.end(item)
            if item.key not in gone:
                updates.append(Done(item.key, part, None, count))
                rows += item.layout.rows
        return updates, rows

    def _let_go(self, lost: Sequence[Lost[Item]]) -> list[Update]:
        for each in lost:
            self._held.end(each.item)
        return [Failed(each.item.key, each.error) for each in lost if each.error is not None]
