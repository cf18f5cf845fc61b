"""The engine for embeddings: texts of many requests share a run.

Comes from `inference.loading`; requests come from and updates go to the runner's engine thread. Which texts run next
is decided in inference/tensor/batcher.py, where a level pays for tokens; how they are fed, in `layouts.py`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from inference.embed.first_runs import warm_up
from inference.embed.layouts import Vectors
from inference.embed.opening import Parts, open_parts
from inference.embed.texts import Embedding, Text
from inference.embed.token_pace import TokenPace
from inference.embed.tokens import Tokens
from inference.engine import Done, EmbedRequest, Failed, Request, RunCounts, Update
from inference.settings import EngineSettings
from inference.tensor.batch_runs import BatchRuns, Lost
from inference.tensor.batcher import Batcher
from inference.tensor.batching import Layout
from inference.tensor.counting import RunCounter
from scheduler.errors import FieldFault, InvalidInput
from scheduler.policies.policy import Policy


class EmbedEngine:
    """One encoder behind the Engine protocol. `runs` and `interrupt` may be called from any thread."""

    def __init__(self, parts: Parts, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the parts. Use `open`."""
        self._parts = parts
        self._layout = parts.layout
        self._pace = TokenPace(parts.pace, parts.capacity)
        self.card = parts.card
        """What is known of the model."""
        self._clock = clock
        self._batcher = Batcher()
        self._counter = RunCounter()
        self._held: dict[str, Embedding] = {}
        self._runs = BatchRuns[Text](parts.model)
        self._layouts: dict[int, Layout] = {}

    @classmethod
    def open(cls, folder: Path, settings: EngineSettings, report: Callable[[str], None]) -> "EmbedEngine":
        """Load the model in `folder`. Raises ModelUnusable with the file and the cause, RuntimeMissing."""
        return cls(open_parts(folder, settings, report))

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once; follows how long runs take and how long requests are."""
        return self._pace.capacity

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        return len(self._held)

    @property
    def together(self) -> int:
        """How many requests of the usual length one run takes."""
        return self._pace.together

    def follow(self, policy: Policy) -> None:
        """Choose by another policy from now on."""
        self._batcher.follow(policy)

    def counts(self) -> RunCounts:
        """Return what was counted since the model was loaded; a text is a row."""
        return self._counter.counts()

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have the keys of each run's requests told before it, on the thread that steps."""
        self._runs.tell(tell)

    def runs(self, key: str) -> bool:
        """Tell, on any thread, whether texts of a request run now."""
        return self._runs.contains(key)

    def interrupt(self, key: str) -> None:
        """Cancel a request that is running, from any thread; its neighbours run again without it."""
        self._runs.interrupt(key)

    def admit(self, key: str, request: Request) -> None:
        """Take a request in. Raises InvalidInput with every fault, fields as paths inside TaskSpec."""
        if type(request) is not EmbedRequest:
            raise InvalidInput.of("embed", "the model turns texts into vectors: it takes texts")
        if key in self._held:
            raise ValueError(f"{key} is already admitted")
        tokens = self._read(request.texts)
        layouts = [self._layout_of(len(one.ids)) for one in tokens]
        held = Embedding(key, request, tokens, layouts, self._clock())
        self._held[key] = held
        self._show(held)
        self._pace.came(sum(layout.rows for layout in layouts))

    def cancel(self, key: str) -> None:
        """Forget a request that does not run now. Unknown keys are ignored."""
        self._forget(key)

    def step(self) -> Sequence[Update]:
        """Run texts once. When that fails their halves run in later steps, until the text at fault is alone."""
        batch = self._runs.next(self._take)
        if not batch:
            return []
        ids = [text.ids for text in batch]
        try:
            ran = self._runs.run(batch, (self._layout.output,), lambda texts: self._layout.feeds(ids))
            vectors = self._layout.pool(ran.outputs[0], ids, self._parts.pooling)  # type: ignore[arg-type] # FP32: layout_of
        except Exception as error:  # whatever the provider raises: it concerns these texts only
            return self._let_go(self._runs.failed(batch, error))
        self._pace.ran(sum(map(len, ids)), ran.input_s + ran.infer_s)
        updates, requests, answered = self._finish(batch, vectors)
        output_s = time.perf_counter() - ran.ended_s
        self._counter.ran(len(batch), (requests, answered), ran.input_s, ran.infer_s, output_s)
        return updates

    def warm_up(self) -> None:
        """Run made-up texts. Raises ModelUnusable when a text of the greatest length cannot be run."""
        self.card = replace(warm_up(self._parts), config=self.card.config)

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        self._parts.model.close()
        self._held.clear()
        self._runs.clear()
        self._batcher.clear()

    def _read(self, texts: Iterable[str]) -> list[Tokens]:
        tokens = [self._parts.tokenizing.read(text) for text in texts]
        empty = [index for index, one in enumerate(tokens) if not len(one.ids)]
        if empty:
            raise InvalidInput([FieldFault(f"embed.texts[{index}]", "has no tokens") for index in empty])
        return tokens

    def _layout_of(self, length: int) -> Layout:
        layout = self._layouts.get(length)
        if layout is None:
            layout = self._layouts[length] = Layout(self._layout.bucket(length), length, ())
        return layout

    def _show(self, held: Embedding) -> None:
        for text in held.show(self._pace.tokens):
            self._batcher.add(text)

    def _take(self) -> list[Text]:
        batch = self._batcher.take(self._pace.tokens, self._clock())
        return [text for text in batch if isinstance(text, Text)]

    def _finish(self, batch: Sequence[Text], vectors: Vectors) -> tuple[list[Update], int, int]:
        """Hand out vectors; return the answers of requests that ended, how many requests shared the run, and how many
        texts those had that ended.
        """
        for key in self._runs.take_interrupted():
            self._forget(key)
        held = self._held
        keys = list(dict.fromkeys(text.key for text in batch))
        for text, vector in zip(batch, vectors, strict=True):
            if text.key in held:
                held[text.key].put(text.index, vector)
        updates: list[Update] = []
        answered = 0
        for key in keys:
            embedding = held.get(key)
            if embedding is None:
                continue
            embedding.runs += 1
            if not embedding.ended:
                self._show(embedding)
                continue
            del held[key]
            answered += embedding.texts
            updates.append(Done(key, embedding.output(), None, len(keys) if embedding.runs == 1 else 0))
        return updates, len(keys), answered

    def _let_go(self, lost: Sequence[Lost[Text]]) -> list[Update]:
        for each in lost:
            self._forget(each.item.key)
        return [Failed(each.item.key, each.error) for each in lost if each.error is not None]

    def _forget(self, key: str) -> None:
        """Let go of a request, wherever its texts wait."""
        embedding = self._held.pop(key, None)
        if embedding is not None:
            for text in embedding.shown:
                self._batcher.remove(text)
            self._runs.forget(key)
