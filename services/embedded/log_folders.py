"""Which folder the embedded broker keeps its log in, and the way from one folder to the next.

The broker never gives disk back, and a log whose end was torn off stops being delivered. So its folder is exchanged
for a fresh one, and everything that has not ended is put on the new log from the records. `state.json` makes this safe
at every point: it names the folder in use, and the folder that it replaces until everything is on the new log.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from scheduler.errors import StartupRefused

STATE_FILE: Final = "state.json"
BROKEN_KEPT: Final = 2
"""So many broken folders are kept for inspection, the newest."""
_BROKEN: Final = "broken-"
_LOST: Final = -1
"""Stands for a generation of which nothing is left."""
_FILES: Final = "log"
"""What the broker's files begin with in a folder, see `pulsar_lite.command`."""


@dataclass(frozen=True, slots=True)
class _State:
    generation: int = 0
    replaces: int | None = None
    """The generation whose open tasks may not all be on the present log."""
    broken: bool = False
    """Whether that one is kept for inspection."""
    clean: bool = True
    """Whether the broker ended after everybody who used it; False while it runs."""


class LogFolders:
    """The folders below `root`. One process at a time may use it: the one that holds the data folder."""

    def __init__(self, root: Path, *, records: bool) -> None:
        """Read the state, or begin anew. `records` says whether there are some: a log that is not there was lost then.

        Raises StartupRefused when the folder cannot be used.
        """
        self._root = root
        self._records = records
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._state = self._read()
            if records and self._state.replaces is None and not self.folder.is_dir():
                self._state = replace(self._state, replaces=_LOST)
            self._remove_leftovers()
        except OSError as error:
            raise StartupRefused(f"{root} cannot be used ({error.strerror})") from error

    @property
    def folder(self) -> Path:
        """The folder in use."""
        return self._of(self._state.generation)

    @property
    def exchanging(self) -> bool:
        """Whether what has not ended must be put on the present log again before `finish`."""
        return self._state.replaces is not None

    @property
    def suspicious(self) -> bool:
        """Whether the broker may have died while it wrote."""
        return not self._state.clean and self.size_bytes() > 0

    @property
    def orphaned(self) -> bool:
        """Whether there is a log although there are no records: they were lost, and it is all that is left."""
        return not self._records and self.folder.is_dir()

    def size_bytes(self) -> int:
        """Return how much the folder in use holds."""
        size = 0
        for folder, _, names in os.walk(self.folder):
            for name in names:
                try:
                    size += os.stat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    # The broker removes files of its own.
                    continue
        return size

    def free_bytes(self) -> int:
        """Return how much room there is for a fresh folder."""
        return shutil.disk_usage(self._root).free

    def begin(self, *, broken: bool) -> Path:
        """Go on to a fresh folder and return it; the one before stays until `finish`. The broker must not run."""
        state = self._state
        if state.replaces is not None:
            # The folder before never got everything: what it replaced is still the one to remove.
            self._discard(state.generation, keep=broken)
        oldest = state.generation if state.replaces is None else state.replaces
        generation = state.generation + 1
        self._remove(self._of(generation))
        self._write(_State(generation, oldest, broken or state.broken, state.clean))
        return self.folder

    def finish(self) -> None:
        """Let go of the folder before: everything that has not ended is on the present log."""
        replaced = self._state.replaces
        if replaced is not None:
            self._discard(replaced, keep=self._state.broken)
            self._write(replace(self._state, replaces=None, broken=False))

    def opened(self) -> None:
        """Note that the broker runs."""
        self._write(replace(self._state, clean=False))

    def closed(self) -> None:
        """Note that the broker ended after everybody who used it."""
        self._write(replace(self._state, clean=True))

    def _of(self, generation: int) -> Path:
        return self._root / f"log-{generation}"

    def _discard(self, generation: int, *, keep: bool) -> None:
        folder = self._of(generation)
        if keep and folder.is_dir():
            folder.replace(self._root / f"{_BROKEN}{generation}")
            for older in self._broken()[:-BROKEN_KEPT]:
                self._remove(older)
        else:
            self._remove(folder)

    def _broken(self) -> list[Path]:
        found = [path for path in self._root.glob(f"{_BROKEN}*") if path.name[len(_BROKEN) :].isdecimal()]
        return sorted(found, key=lambda path: int(path.name[len(_BROKEN) :]))

    def _remove_leftovers(self) -> None:
        """Remove folders that no state names: what was being removed when the process died."""
        used = {self.folder}
        if self._state.replaces is not None:
            used.add(self._of(self._state.replaces))
        for path in self._root.glob("log-*"):
            if path.name[4:].isdecimal() and path not in used:
                self._remove(path)

    @staticmethod
    def _remove(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def _read(self) -> _State:
        try:
            return _State(**json.loads((self._root / STATE_FILE).read_text("utf-8")))
        except FileNotFoundError:
            return self._adopt()
        except (ValueError, TypeError) as error:
            raise StartupRefused(
                f"{self._root / STATE_FILE} cannot be understood: remove {self._root}, and everything that has not "
                "ended is put on a new log from the records"
            ) from error

    def _adopt(self) -> _State:
        """Begin: with the files of a broker that had no folder of its own, or with nothing."""
        found = sorted(self._root.glob(f"{_FILES}.*"))
        if not found:
            return _State()
        folder = self._of(0)
        folder.mkdir(exist_ok=True)
        for path in found:
            path.replace(folder / path.name)
        return _State(clean=False)

    def _write(self, state: _State) -> None:
        """Write the state so that it is there, old or new, after any death."""
        fresh = self._root / f"{STATE_FILE}.new"
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(asdict(state), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._root / STATE_FILE)
        self._state = state
