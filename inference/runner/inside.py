"""What is inside the engine, and which part of it would be to blame if the process died or hung now."""

from collections.abc import Collection, Sequence

from inference.engine import Engine, TellsRuns
from inference.journal import JournalWriter


class Inside:
    """The attempts in one engine. The engine's thread owns it; others may ask whether a key is in it.

    It names at any moment what the engine works on: what is being taken in, then what is run. With a journal, that
    does too; an engine that runs all it holds in each step costs a write only when that changes.
    """

    def __init__(self, journal: JournalWriter | None) -> None:
        self._journal = journal
        self._keys: dict[str, None] = {}
        self._suspects: Collection[str] = ()
        self._tells = False
        self._noted = True
        """Whether the journal names what is inside, or need not."""
        self._idle = True

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def suspects(self) -> list[str]:
        """Return what the engine works on. On any thread."""
        return list(self._suspects)

    def watch(self, engine: Engine) -> None:
        """Have an engine that runs parts of what it holds tell which."""
        if isinstance(engine, TellsRuns):
            self._tells = True
            engine.tell_runs(self._runs)

    def enter(self, keys: Sequence[str]) -> None:
        """Note what is being taken in, before the engine sees it."""
        for key in keys:
            self._keys[key] = None
        self._suspects = keys
        if self._journal is not None:
            self._journal.executing(keys)
            self._noted = self._idle = False

    def leave(self, key: str) -> None:
        """Note that an attempt has ended or is forgotten."""
        self._keys.pop(key, None)
        self._noted = False

    def step(self) -> None:
        """Note that everything inside is about to be run."""
        if self._tells:
            return
        self._suspects = self._keys
        if self._noted or self._journal is None:
            return
        self._journal.executing(self._keys)
        self._noted = True

    def rest(self) -> None:
        """Note that the engine has nothing to do."""
        self._suspects = ()
        if self._idle or self._journal is None:
            return
        self._journal.executing(())
        self._idle = self._noted = True

    def _runs(self, keys: Sequence[str]) -> None:
        self._suspects = keys
        if self._journal is not None:
            self._journal.executing(keys)
