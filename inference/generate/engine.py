"""The generate engine: one step after the other over the rows that have a slot.

A step gives slots to rows that wait, reads a bounded piece of the prompts that are not read yet, generates one token
for every other row in one run of the model, and chooses the tokens of all of them together (docs/engine.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from inference.engine import GenerateRequest, GenerationStats, Request, StepTimes, Update
from inference.generate.admitted import Admitted
from inference.generate.opening import Parts, open_parts
from inference.generate.session import DecoderSession
from inference.generate.stepping import Stepper
from inference.generate.trial import run_extremes, same_in_any_batch
from inference.providers import PROVIDERS
from inference.settings import EngineSettings
from scheduler.errors import InvalidInput
from scheduler.states import Level


class GenerateEngine:
    """A language model in the onnxruntime-genai folder format. Not thread-safe: its owner's one thread drives it."""

    def __init__(self, parts: Parts, prefill_tokens: int) -> None:
        """Take the parts. Use `open`."""
        self._session: DecoderSession | None = parts.session
        self._prompting = parts.prompting
        self._seating = parts.seating
        self._prefixes = parts.prefixes
        self.card = parts.card
        """What is known of the model."""
        self._slots = parts.slots
        self._admitted = Admitted(parts.seating)
        self._stepper: Stepper | None = Stepper(parts.session, self._admitted, parts.prefixes, prefill_tokens)
        self._prefill_tokens = prefill_tokens
        self._times = StepTimes()

    @classmethod
    def open(cls, folder: Path, settings: EngineSettings, report: Callable[[str], None]) -> "GenerateEngine":
        """Load the model in `folder`. Raises ModelUnusable with the file and the cause, RuntimeMissing."""
        return cls(open_parts(folder, settings, report), settings.prefill_tokens)

    @property
    def capacity(self) -> int:
        """How many rows can run at once."""
        return self._slots

    @property
    def active(self) -> int:
        """How many rows are admitted and not ended; a request for n answers has n."""
        return len(self._admitted)

    @property
    def times(self) -> StepTimes:
        """Where the latest step spent its time."""
        return self._times

    def stats(self) -> GenerationStats:
        """Count what is held."""
        prefixes = self._prefixes
        return self._seating.stats(*(0, 0) if prefixes is None else (prefixes.queries, prefixes.hits))

    def preemptable(self, level: Level) -> int:
        """Return how many rows of a level can be admitted although no slot is free."""
        return self._seating.preemptable(level)

    def tell_runs(self, tell: Callable[[Sequence[str]], None]) -> None:
        """Have `tell` called with the keys of the requests that are about to be run, whenever they are others."""
        if self._stepper is not None:
            self._stepper.tell = tell

    def admit(self, key: str, request: Request) -> None:
        """Take a request in. Raises InvalidInput with every fault found when it can never run."""
        if not isinstance(request, GenerateRequest):
            raise InvalidInput.of("tensors", "the model generates text: it takes a prompt or messages")
        if key in self._admitted:
            raise ValueError("admit needs a new key")
        self._admitted.add(self._prompting.generation(key, request))

    def cancel(self, key: str) -> None:
        """Forget a request. Unknown keys are ignored."""
        self._admitted.forget(key)

    def step(self) -> Sequence[Update]:
        """Read the next pieces of the prompts, and generate one token for every row that has read its own."""
        assert self._stepper is not None, "the engine is closed"
        updates, self._times = self._stepper.step()
        return updates

    def warm_up(self) -> None:
        """Run every size of run once on made-up input, and find out whether answers depend on the batch."""
        if self._admitted or self._session is None:
            return
        if self.card.provider == PROVIDERS["tensorrt"]:
            run_extremes(self._session, self._slots, min(self._prefill_tokens, self.card.context_length))
        invariant = not self._session.mixes and same_in_any_batch(self._session, self._slots)
        self.card = replace(self.card, batch_invariant=invariant)
        # Without the prefix cache: what nobody asked for is not to be counted, nor kept.
        stepper = Stepper(self._session, self._admitted, None, self._prefill_tokens)
        self.admit("", GenerateRequest(prompt="0 1 2", max_tokens=2, ignore_eos=True))
        while self._admitted:
            stepper.step()

    def close(self) -> None:
        """Let go of the model. Idempotent."""
        self._admitted.clear()
        if self._prefixes is not None:
            self._prefixes.clear()
        self._prompting.close()
        self._session = self._stepper = None
