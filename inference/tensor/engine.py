"""The engine for models with named tensors: requests that fit together share a run.

Comes from `inference.loading`; requests come from and updates go to the runner's engine thread.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from inference.artifacts import digest, inspect
from inference.engine import (
    Array,
    Done,
    EngineKind,
    Failed,
    ModelCard,
    Request,
    Signature,
    TensorOutput,
    TensorRequest,
    Update,
)
from inference.model_errors import failure_of
from inference.providers import PROVIDERS, Opened, open_session, runtime
from inference.settings import EngineSettings
from inference.tensor.batching import Item, Layout, can_share, join, layout_of, next_batch, split
from inference.tensor.datatypes import BY_ONNX
from inference.tensor.pace import Pace
from inference.tensor.text import to_bytes, to_text
from inference.tensor.trial import Filling, made_up, rows_are_independent, runnable
from inference.tensor.validation import faults_of
from scheduler.errors import InvalidInput, ModelUnusable

MAX_LAYOUTS = 4096
"""Combinations of shapes that are remembered; when there are more, all are forgotten."""

Shapes = tuple[tuple[str, Any, tuple[int, ...]], ...]


class TensorEngine:
    """One ONNX model behind the Engine protocol. `runs` and `interrupt` may be called from any thread."""

    def __init__(self, opened: Opened, card: ModelCard, pace: Pace) -> None:
        self._card = card
        self._pace = pace
        self._session = opened.session
        self._run_options: Callable[[], Any] = runtime().RunOptions
        self._inputs = tuple(signature.name for signature in card.inputs)
        self._outputs = tuple(signature.name for signature in card.outputs)
        self._text_inputs = [signature.name for signature in card.inputs if signature.datatype == "BYTES"]
        self._text_outputs = [
            index for index, signature in enumerate(card.outputs) if signature.datatype == "BYTES"
        ]
        self._share = False
        self._layouts: dict[Shapes, Layout] = {}
        self._waiting: dict[str, Item] = {}
        self._urgent: dict[str, Item] = {}
        """What goes before those that wait."""
        self._again: deque[list[Item]] = deque()
        self._running: tuple[Sequence[Item], Any] | None = None
        self._interrupted: set[str] = set()
        self._tell: Callable[[Sequence[str]], None] | None = None
        self._filling: Filling | None = None

    @classmethod
    def open(cls, path: Path, settings: EngineSettings, report: Callable[[str], None]) -> "TensorEngine":
        """Load a model from a path that `inference.artifacts` accepts.

        Raises ModelUnusable with the file and the cause, RuntimeMissing.
        """
        artifact = inspect(path)
        size = sum(file.stat().st_size for file in artifact.files)
        report(f"loading {artifact.model.name}, {_size(size)}")
        opened = open_session(artifact.model, settings, report)
        card = ModelCard(
            kind=EngineKind.TENSOR,
            digest=digest(artifact, settings.cache),
            provider=opened.provider,
            inputs=signatures(opened.session.get_inputs(), artifact.model.name),
            outputs=signatures(opened.session.get_outputs(), artifact.model.name),
        )
        engine = cls(opened, card, Pace(settings.batch_time_s, settings.max_batch, settings.capacity))
        engine._decide_sharing(settings.batching, report)
        return engine

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        return self._card

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once; follows how long runs take. What is admitted is not ordered by
        priority any more, so a model that runs one request after the other gets one: the next may last a thousand times
        as long as the last, and fetching it from the line takes no longer than holding it.
        """
        return self._pace.requests if self._share else 1

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        return len(self._waiting) + len(self._urgent) + sum(map(len, self._again))

    @property
    def shares_runs(self) -> bool:
        """Whether requests are batched."""
        return self._share

    @property
    def together(self) -> int:
        """How many requests one run takes at most; follows how long runs take."""
        return self._pace.rows if self._share else 1

    def admit(self, key: str, request: Request) -> None:
        """Take a request in. Raises InvalidInput with every fault, fields as paths inside TaskSpec."""
        if not isinstance(request, TensorRequest):
            raise InvalidInput.of("generate", "the model takes tensors, not a prompt")
        if key in self._waiting or key in self._urgent:
            raise ValueError(f"{key} is already admitted")
        inputs = request.inputs
        shapes = tuple([(name, array.dtype, array.shape) for name, array in inputs.items()])
        layout = self._layouts.get(shapes)
        if layout is None or self._text_inputs:
            if faults := faults_of(inputs, self._card.inputs):
                raise InvalidInput(faults)
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            layout = self._layouts[shapes] = layout_of(inputs, self._inputs, share=self._share)
            if self._text_inputs:
                inputs = {**inputs, **{name: to_text(inputs[name]) for name in self._text_inputs}}
        line = self._urgent if request.urgent else self._waiting
        line[key] = Item(key, inputs, layout)

    def cancel(self, key: str) -> None:
        """Forget a request that does not run now. Unknown keys are ignored."""
        if not (self._waiting.pop(key, None) or self._urgent.pop(key, None)) and self._again:
            rest = ([item for item in batch if item.key != key] for batch in self._again)
            self._again = deque(batch for batch in rest if batch)

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have the keys of each batch told before it is run, on the thread that steps."""
        self._tell = tell

    def runs(self, key: str) -> bool:
        """Tell, on any thread, whether a request runs now."""
        running = self._running
        return running is not None and any(item.key == key for item in running[0])

    def interrupt(self, key: str) -> None:
        """Cancel a request that is running, from any thread; its neighbours run again without it.

        The run stops before its next operator. Does nothing when the request does not run now.
        """
        running = self._running
        if running is not None and any(item.key == key for item in running[0]):
            self._interrupted.add(key)
            running[1].terminate = True

    def step(self) -> Sequence[Update]:
        """Run one batch. When it fails its halves run in later steps, until the request at fault is alone."""
        if self._again:
            batch = self._again.popleft()
        else:
            held: Iterable[Item] = self._waiting.values()
            if self._urgent:
                held = chain(self._urgent.values(), held)
            batch = next_batch(held, self._pace.rows if self._share else 1)
            for item in batch:
                if self._waiting.pop(item.key, None) is None:
                    del self._urgent[item.key]
        if not batch:
            return []
        if self._tell is not None:
            # Before the arrays are joined: that too takes memory, for which the process may be killed.
            self._tell([item.key for item in batch])
        started_s = time.perf_counter()
        try:
            outputs = self._run(join(batch, self._inputs), batch)
        except Exception as error:  # whatever the provider raises: it concerns these requests only
            return self._after_failure(batch, error)
        rows = sum([item.layout.rows for item in batch])
        self._pace.ran(rows, time.perf_counter() - started_s, full=not self._share)
        parts = split(batch, outputs, self._outputs)
        if parts is None:
            self._stop_sharing(batch)
            return []
        if self._interrupted:
            gone = self._take_interrupted()
            return [
                Done(item.key, TensorOutput(part))
                for item, part in zip(batch, parts, strict=True)
                if item.key not in gone
            ]
        return [Done(item.key, TensorOutput(part)) for item, part in zip(batch, parts, strict=True)]

    def warm_up(self) -> None:
        """Run made-up input: one row, and on TensorRT the largest batch too, which fixes its range of shapes.

        A model that takes none of the made-up shapes is left cold.
        """
        if self._filling is None:
            self._filling = runnable(self._card.inputs, self._trial)
        if self._filling is None:
            return
        if self._share and self._card.provider == PROVIDERS["tensorrt"]:
            self._trial(made_up(self._card.inputs, self._pace.rows, self._filling))
        self._measure(self._filling)

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        self._session = None
        self._waiting.clear()
        self._urgent.clear()
        self._again.clear()

    def _run(self, feeds: Mapping[str, Array], batch: Sequence[Item]) -> list[Array]:
        """Run the model once; outputs come in the model's order, BYTES as bytes."""
        options = self._run_options()
        self._running = (batch, options)
        try:
            outputs: list[Array] = self._session.run(self._outputs, feeds, options)
        finally:
            self._running = None
        for index in self._text_outputs:
            outputs[index] = to_bytes(outputs[index])
        return outputs

    def _trial(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Run made-up input as it would come from a client."""
        texts = {name: to_text(inputs[name]) for name in self._text_inputs}
        return self._run({**inputs, **texts}, ())

    def _measure(self, filling: Filling) -> None:
        """Let the pace begin with the better of three runs."""
        inputs = made_up(self._card.inputs, 1, filling)
        seconds = []
        for _ in range(3):
            started_s = time.perf_counter()
            self._trial(inputs)
            seconds.append(time.perf_counter() - started_s)
        self._pace.ran(1, min(seconds), full=True)

    def _after_failure(self, batch: list[Item], error: Exception) -> Sequence[Update]:
        if self._interrupted:
            gone = self._take_interrupted()
            if rest := [item for item in batch if item.key not in gone]:
                self._again.appendleft(rest)
            return []
        if len(batch) == 1:
            return [Failed(batch[0].key, failure_of(error))]
        middle = len(batch) // 2
        self._again.extendleft((batch[middle:], batch[:middle]))
        return []

    def _take_interrupted(self) -> set[str]:
        gone, self._interrupted = self._interrupted, set()
        return gone

    def _stop_sharing(self, batch: list[Item]) -> None:
        """From now on one request a run: this model's first dimension is not one of requests."""
        self._share = False
        self._layouts.clear()
        self._again.extendleft([item] for item in reversed(batch))

    def _decide_sharing(self, batching: str, report: Callable[[str], None]) -> None:
        """Batch only what is known to be the same alone and together, unless the setting says otherwise."""
        if batching not in ("auto", "always", "never"):
            raise ModelUnusable(f"batching is {batching!r}: expected auto, always or never")
        possible = can_share(self._card.inputs, self._card.outputs)
        if possible and batching == "auto":
            report("trying whether rows are independent")
            self._filling = runnable(self._card.inputs, self._trial)
            self._share = self._filling is not None and rows_are_independent(
                self._card.inputs, self._card.outputs, self._trial, self._filling
            )
        else:
            self._share = possible and batching == "always"
        if not self._share:
            report("requests run one by one")


def _size(size: int) -> str:
    """Write a number of bytes in the unit that suits it."""
    for unit, bytes_ in (("MB", 10**6), ("kB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


def signatures(arguments: Sequence[Any], model: str) -> tuple[Signature, ...]:
    """Describe ONNX Runtime's inputs or outputs.

    Raises ModelUnusable for what cannot travel: sequences, maps, and element types that KServe does not know.
    """
    found = []
    for argument in arguments:
        datatype = BY_ONNX.get(argument.type)
        if datatype is None:
            raise ModelUnusable(f"{model}: {argument.name!r} is a {argument.type}, which is not supported")
        shape = tuple(length if isinstance(length, int) else -1 for length in argument.shape)
        found.append(Signature(argument.name, datatype.name, shape))
    return tuple(found)
