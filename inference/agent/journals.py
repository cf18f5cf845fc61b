"""The folder in which the runners of one agent keep their journals."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SHARED_MEMORY: Final = Path("/dev/shm")
_NAME: Final = re.compile(r"forebay-agent-(\d+)-.+")
_LOCK: Final = "lock"
"""A file that the agent keeps locked while it lives: its number says nothing to agents in other containers."""


@contextmanager
def journal_folder(place: Path | None = None) -> Iterator[Path]:
    """Make a folder that goes when the block is left. What agents that were killed have left in `place` goes first.

    `place` is in memory where it can be: on a disk a runner could wait for its journal to be written.
    """
    place = place or _usual_place()
    _clear(place)
    with tempfile.TemporaryDirectory(prefix=f"forebay-agent-{os.getpid()}-", dir=place) as folder:
        with (Path(folder) / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)


def _usual_place() -> Path:
    if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


def _clear(place: Path) -> None:
    for folder in place.iterdir():
        found = _NAME.fullmatch(folder.name)
        if found and not _lives(int(found[1])) and not _locked(folder / _LOCK):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # It lives, and is somebody else's.
    return True


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
