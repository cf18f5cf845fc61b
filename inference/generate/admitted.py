"""Everything that was admitted and has not ended: who compiles, who waits or has a slot, and how requests end."""

from typing import Final

from inference.engine import Chunk, Done, Failed, Update
from inference.generate.compiling import Compiling
from inference.generate.row import Generation, Row
from inference.generate.seating import Seating
from inference.model_errors import failure_of
from scheduler.errors import ForebayError

COMPILING_S: Final = 0.05
"""How long a step waits for a grammar when there is nothing else to do."""


class Admitted:
    """The requests of one engine, by key."""

    def __init__(self, seating: Seating) -> None:
        """Take what gives rows their slots."""
        self.seating = seating
        self._compiling = Compiling()
        self._generations: dict[str, Generation] = {}

    def __len__(self) -> int:
        """How many rows there are, with or without a slot."""
        return len(self.seating) + len(self._compiling)

    def __contains__(self, key: str) -> bool:
        return key in self._generations

    def add(self, generation: Generation) -> None:
        """Take a request in. Raises InvalidInput when its grammar is known to be of no use."""
        if generation.compiled:
            generation.constrain()
            self.seating.add(generation.rows)
        else:
            self._compiling.add(generation)
        self._generations[generation.key] = generation
        self.seating.changed = True

    def forget(self, key: str) -> None:
        """Take a request out, with all its rows. Unknown keys are ignored."""
        generation = self._generations.pop(key, None)
        if generation is not None:
            self._compiling.remove(generation)
            for row in generation.rows:
                if row.finish is None:
                    self.seating.remove(row)

    def clear(self) -> None:
        """Take everything out."""
        for key in list(self._generations):
            self.forget(key)

    def take_compiled(self) -> list[Update]:
        """Let requests whose grammars are compiled wait for slots; refuse those whose grammars are of no use."""
        updates: list[Update] = []
        for generation in self._compiling.take(0.0 if len(self.seating) else COMPILING_S):
            try:
                generation.constrain()
            except Exception as error:  # what a compiler of grammars raises concerns this request only
                updates.append(self.fail(generation, error))
            else:
                self.seating.add(generation.rows)
        return updates

    def ended(self, row: Row, chunk: Chunk) -> Chunk | Done:
        """Free the slot of an answer that is complete; with the last one of a request, that has ended."""
        self.seating.remove(row)
        done = row.generation.done(chunk)
        if done is None:
            return chunk
        del self._generations[done.key]
        return done

    def fail(self, generation: Generation, error: Exception) -> Failed:
        """End a request with all its rows."""
        self.forget(generation.key)
        return Failed(generation.key, error if isinstance(error, ForebayError) else failure_of(error))
