"""The generate engine: a thin loop over rows.

Each step runs the model at most twice: once over all rows that are generating, one token each, and once over the next
piece of the oldest prompt that is not read yet. Rows that generate are kept in front, in slots 0 to n - 1, so their
part of the cache lies in one piece; behind them the others wait in order of admission, and only the first of them
has anything in the cache.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inference.artifacts import digest, inspect
from inference.engine import Done, EngineKind, Failed, GenerateRequest, ModelCard, Request, Update
from inference.generate.config import read_config
from inference.generate.prompting import Prompting
from inference.generate.row import Row
from inference.generate.session import DecoderSession
from inference.model_errors import failure_of
from inference.providers import open_session, session_options
from inference.settings import EngineSettings
from scheduler.errors import InvalidInput

PREFILL_TOKENS = 256
"""Prompt tokens of one run: longer pieces are no faster on a CPU, and neighbours wait for them."""

MAX_CONTEXT = 8192
"""Context length when the settings leave it to the model and the model would take more."""


def _options(settings: EngineSettings) -> Any:
    """Return the session options that decode fastest (measured on 2 cores, in benchmarks/bench_llm_bare.py).

    Threads spin between the operators of a run (a third faster than sleeping), but for 50 µs at most: on a machine
    whose cores others use too, threads that spin without end take the core from the one they wait for, and a step
    takes twice as long as without spinning. Between runs they never spin, so an idle engine costs nothing. Work is cut
    into small blocks, so a core that others use does not hold up the run.
    """
    options = session_options(settings, spinning=True)
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.dynamic_block_base", "8")
    return options


class GenerateEngine:
    """A language model in the onnxruntime-genai folder format. Not thread-safe: its owner's one thread drives it."""

    def __init__(self, session: DecoderSession, prompting: Prompting, card: ModelCard) -> None:
        """Take the parts. Use `open`."""
        self._session: DecoderSession | None = session
        self._prompting = prompting
        self._card = card
        self._capacity = session.rows
        self._rows: list[Row] = []
        self._generating = 0
        """How many rows, from the first, have read their prompt."""

    @classmethod
    def open(cls, folder: Path, settings: EngineSettings, report: Callable[[str], None]) -> "GenerateEngine":
        """Load the model in `folder`. Raises ModelUnusable with the file and the cause, RuntimeMissing."""
        artifact = inspect(folder)
        config = read_config(artifact.root)
        context = settings.context_length or MAX_CONTEXT
        context = min(context, config.context_length)
        size = sum(file.stat().st_size for file in artifact.files)
        report(f"loading {folder.name}, {size / 1e6:.0f} MB")
        prompting = Prompting(
            artifact.root, context_length=context, vocabulary=config.vocabulary, end_tokens=config.end_tokens
        )
        opened = open_session(artifact.model, settings, report, _options(settings))
        session = DecoderSession(opened.session, config, settings.slots, context)
        if session.rows < settings.slots:
            report(f"{folder.name} keeps its cache on the GPU: one generation runs at a time")
        card = ModelCard(
            kind=EngineKind.GENERATE,
            digest=digest(artifact, settings.cache),
            provider=opened.provider,
            context_length=context,
        )
        return cls(session, prompting, card)

    @property
    def card(self) -> ModelCard:
        """What is known of the model."""
        return self._card

    @property
    def capacity(self) -> int:
        """How many requests can be admitted at once."""
        return self._capacity

    @property
    def active(self) -> int:
        """How many requests are admitted and not ended."""
        return len(self._rows)

    def admit(self, key: str, request: Request) -> None:
        """Take a request in. Raises InvalidInput with every fault found when it can never run."""
        if not isinstance(request, GenerateRequest):
            raise InvalidInput.of("tensors", "the model generates text: it takes a prompt or messages")
        if self.active >= self._capacity or any(row.key == key for row in self._rows):
            raise ValueError("admit needs a free place and a new key")
        self._rows.append(self._prompting.row(key, request))

    def cancel(self, key: str) -> None:
        """Forget a request. Unknown keys are ignored."""
        for slot, row in enumerate(self._rows):
            if row.key == key:
                self._remove(slot)
                return

    def step(self) -> Sequence[Update]:
        """Read the next piece of the oldest unread prompt, and generate one token for every other row."""
        decoding = self._generating
        updates = self._prefill() if decoding < len(self._rows) else []
        if decoding:
            updates += self._decode(decoding)
        ended = {update.key for update in updates if isinstance(update, Done | Failed)}
        for slot in reversed(range(len(self._rows))):
            if self._rows[slot].key in ended:
                self._remove(slot)
        return updates

    def warm_up(self) -> None:
        """Run a short prompt and one token on made-up input."""
        if self._rows or self._session is None:
            return
        self._rows.append(
            self._prompting.row("", GenerateRequest(prompt="0 1 2", max_tokens=2, ignore_eos=True))
        )
        while self._rows:
            self.step()

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        self._rows.clear()
        self._generating = 0
        self._session = None

    def _prefill(self) -> list[Update]:
        slot = self._generating
        row = self._rows[slot]
        piece = row.prompt[row.prefilled : row.prefilled + PREFILL_TOKENS]
        try:
            assert self._session is not None, "the engine is closed"
            logits = self._session.prefill(slot, piece, row.prefilled)
            row.prefilled += len(piece)
            if row.prefilled < len(row.prompt):
                return []
            self._generating += 1
            return [row.accept(logits)]
        except Exception as error:  # whatever the provider raises concerns this request only
            return [Failed(row.key, failure_of(error))]

    def _decode(self, count: int) -> list[Update]:
        rows = self._rows[:count]
        try:
            assert self._session is not None, "the engine is closed"
            logits = self._session.decode([row.generated[-1] for row in rows], [row.held for row in rows])
        except Exception as error:  # the run was everyone's
            return [Failed(row.key, failure_of(error)) for row in rows]
        updates: list[Update] = []
        for row, row_logits in zip(rows, logits, strict=True):
            try:
                updates.append(row.accept(row_logits))
            except Exception as error:
                updates.append(Failed(row.key, failure_of(error)))
        return updates

    def _remove(self, slot: int) -> None:
        """Free a slot: the last generating row takes its place, and the first waiting one follows."""
        rows = self._rows
        if slot < self._generating:
            assert self._session is not None, "the engine is closed"
            last = self._generating - 1
            if slot != last:
                self._session.move(last, slot, rows[last].held)
                rows[slot] = rows[last]
            if self._generating < len(rows) and rows[self._generating].prefilled:
                self._session.move(self._generating, last, rows[self._generating].prefilled)
            self._generating = slot = last
        rows.pop(slot)
