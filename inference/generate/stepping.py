"""One step of the engine: prompts are read, tokens are generated and chosen.

A request comes here from inference/generate/engine.py, which owns it; what it brings goes back there as updates.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from inference.engine import StepTimes, Update
from inference.generate.admitted import Admitted
from inference.generate.choosing import choose_tokens
from inference.generate.measured import Measured
from inference.generate.plan import COPIED_AS_ONE, Reader, next_reading
from inference.generate.prefix_cache import Hit, PrefixCache
from inference.generate.row import Row
from inference.generate.session import DecoderSession, Logits


class Stepper:
    """Takes the rows that have a slot one step further."""

    def __init__(
        self, session: DecoderSession, admitted: Admitted, prefixes: PrefixCache | None, prefill_tokens: int
    ) -> None:
        """Take the parts of an engine, and how many prompt tokens a step may read."""
        self._session = session
        self._admitted = admitted
        self._seating = admitted.seating
        self._prefixes = prefixes
        self._prefill_tokens = prefill_tokens
        self.tell: Callable[[Sequence[str]], None] | None = None
        """Hears which requests have a part in the next runs, whenever that changes."""

    def step(self) -> tuple[list[Update], StepTimes]:
        """Read the next pieces of the prompts, and generate one token for every row that has read its own."""
        step = Measured()
        updates = self._admitted.take_compiled()
        self._seating.seat()
        if self._seating.changed:
            self._seating.changed = False
            if self.tell is not None:
                self.tell(self._seating.keys())
        generating = self._seating.generating()
        updates += self._read_prompts(step)
        if generating:
            updates += self._generate(generating, step)
        self._seating.close_gaps()
        return updates, step.times()

    def _read_prompts(self, step: Measured) -> list[Update]:
        """Read pieces of prompts up to the budget; rows that have read theirs choose their first token."""
        updates: list[Update] = []
        ready: list[Row] = []
        logits: list[Logits] = []
        budget = self._prefill_tokens
        readers = {row.slot: row for row in self._seating.readers()}
        while readers and budget > 0:
            budget -= self._recognise(readers, budget)
            queue = (Reader(row.slot, row.level, row.order, row.left) for row in readers.values())
            reading = next_reading(queue, budget)
            if reading is None:
                break
            row, count = readers[reading[0].slot], reading[1]
            budget -= count
            try:
                last = self._read(row, count, step)
            except Exception as error:  # whatever the provider raises concerns this request only
                updates.append(self._admitted.fail(row.generation, error))
                readers = {row.slot: row for row in self._seating.readers()}
                continue
            if not row.left:
                del readers[row.slot]
                ready.append(row)
                logits.append(last)
        if ready:
            updates += choose_tokens(self._admitted, ready, np.stack(logits), step)
        return updates

    def _recognise(self, readers: dict[int, Row], budget: int) -> int:
        """Copy what is cached of a prompt into its slot, for the one that reads next, as far as the budget goes.

        Not earlier: what it could have in common with others may only just have been read. Returns what of the budget
        is used up.
        """
        if self._prefixes is None:
            return 0
        row = min(readers.values(), key=lambda row: (row.level, row.order))
        if row.known is None:
            row.known = self._prefixes.match(row.generation.tenant, row.generation.prompt)
        if row.held >= row.known.tokens:
            return 0
        try:
            held = self._prefixes.load(row.slot, row.known, row.held, budget * COPIED_AS_ONE)
        except ValueError:  # others needed its memory since it was found: the rest is read
            row.known = Hit()
            return 0
        copied = held - row.held
        row.held = row.cached = held
        return -(-copied // COPIED_AS_ONE)

    def _read(self, row: Row, count: int, step: Measured) -> Logits:
        """Run the model over the next tokens of a prompt."""
        prompt = row.generation.prompt
        began_s = time.perf_counter()
        logits = self._session.prefill(row.slot, prompt[row.held : row.held + count], row.held)
        step.read(row.generation.key, count, time.perf_counter() - began_s)
        row.held += count
        # After every piece, not once at the end: copying a whole prompt takes as long as reading a piece of it, where
        # the memory for the copy is fresh.
        if self._prefixes is not None:
            self._prefixes.store(row.generation.tenant, prompt, row.slot, row.held)
        return logits

    def _generate(self, rows: list[Row], step: Measured) -> list[Update]:
        """Run the model over the newest token of each row."""
        rows = [row for row in rows if row.generation.key in self._admitted]
        if not rows:
            return []
        reach = self._seating.reach(rows)
        slots = [row.slot for row in rows]
        tokens, held = np.zeros(reach, np.int64), np.zeros(reach, np.int64)
        for slot, length in self._seating.lengths():
            if slot < reach:
                held[slot] = length
        tokens[slots] = [row.generated[-1] for row in rows]
        began_s = time.perf_counter()
        try:
            logits = self._session.decode(tokens, held)
        except Exception:  # the run was everyone's: each alone shows whose fault it is
            return self._generate_alone(rows, step)
        finally:
            step.decode_s += time.perf_counter() - began_s
            step.decode_rows += len(rows)
        for row in rows:
            row.held += 1
        return choose_tokens(self._admitted, rows, logits if len(rows) == reach else logits[slots], step)

    def _generate_alone(self, rows: list[Row], step: Measured) -> list[Update]:
        """Run the model for each row by itself; those whose run fails end, the others go on."""
        updates: list[Update] = []
        for row in rows:
            if row.generation.key not in self._admitted:
                continue
            try:
                logits = self._session.decode_one(row.slot, row.generated[-1], row.held)
            except Exception as error:  # whatever the provider raises concerns this request only
                updates.append(self._admitted.fail(row.generation, error))
            else:
                row.held += 1
                updates += choose_tokens(self._admitted, [row], logits[None, :], step)
        return updates
