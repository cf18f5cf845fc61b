"""What children write: everything goes to bounded files, and what a person must know goes to the terminal."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

KEEP_BYTES: Final = 8 * 1024 * 1024
"""Size of a log file before it is put aside as `NAME.log.1`, which replaces the one before."""
LINE_BYTES: Final = 64 * 1024
"""Longest line that is read as one."""

_LOUD_JSON: Final = re.compile(rb'"level":\s*"(?:WARNING|ERROR|CRITICAL)"', re.IGNORECASE)
_COLOUR: Final = re.compile(rb"\x1b\[[\d;]*m")
# pulsar-lite writes "2026-01-01T10:00:00.0Z ERROR module: text".
_LOUD_WORD: Final = re.compile(rb"^[\d\-T:.Z\s]*(?:WARN(?:ING)?|ERROR|FATAL|CRITICAL)\b")
# valkey writes "71:M 01 Jan 2026 10:00:00.000 # text" for warnings.
_LOUD_MARK: Final = re.compile(rb"^\d+:[A-Z] [^#]{20,30} # ")
_WARNS: Final = re.compile(r"[\d\-T:.Z\s]*warn(?:ing)?\b", re.IGNORECASE)
_QUIET: Final = re.compile(
    rb"overcommit|TCP backlog|oO0OoO0OoO0Oo|jemalloc|MADV_DONTNEED|Transparent Huge|SIGTERM|bye bye|exit now"
)
"""What valkey warns of at each start and end, and nobody on a laptop needs to act on."""


class ChildLog:
    """The log of one child: a file of bounded size, and the last things worth saying. One writer."""

    def __init__(
        self, path: Path, say: Callable[[str], None], damage: re.Pattern[bytes] | None = None
    ) -> None:
        """Open the file for appending; put it aside first when it is full. `say` gets warnings and errors; `damage` is
        what the child writes when it cannot read its files.
        """
        self.path = path
        self.last_error = ""
        """The newest error, in a person's words; shown when the child dies. A warning is no reason to die of."""
        self.refusal = ""
        """Why the child refused to start, in its own sentence; starting it again would not help."""
        self.damaged = False
        """Whether the child has complained that it cannot read its files."""
        self._say = say
        self._damage = damage
        self._lossy = False
        self._written = path.stat().st_size if path.exists() else 0
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._rotate_when_full()

    def write(self, line: bytes) -> None:
        """Keep one line, and say it when it is a warning or an error.

        One that cannot be kept is lost: a full disk is no reason for everything to end.
        """
        self._keep(line)
        if self._damage and not self.damaged:
            self.damaged = self._damage.search(line) is not None
        text = loud(line)
        if text:
            if not _WARNS.match(text):
                self.last_error = text
            if b'"STARTUP_REFUSED"' in line:
                self.refusal = text.rpartition("process ends: ")[2]
            self._say(text)

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _keep(self, line: bytes) -> None:
        try:
            if self._file.closed:
                self._file = self.path.open("ab", buffering=0)
            self._file.write(line)
            self._written += len(line)
            self._rotate_when_full()
        except OSError as error:
            if not self._lossy:
                self._say(f"warning: lines of {self.path.name} are lost ({error.strerror})")
            self._lossy = True
        else:
            self._lossy = False

    def _rotate_when_full(self) -> None:
        """Put a full file aside. Raises OSError; the file may be closed then."""
        if self._written < KEEP_BYTES:
            return
        self._file.close()
        self.path.replace(self.path.with_suffix(".log.1"))
        self._file = self.path.open("ab", buffering=0)
        self._written = 0


_TOLD_BY_FLEET: Final = b'"event":"model unusable"'
"""What the watch over the models says in its own words, and only once."""


def loud(line: bytes) -> str:
    """Return what a person must be told of a log line, or "" for one that belongs to the file only."""
    if line.startswith(b"{"):
        if _TOLD_BY_FLEET in line.replace(b": ", b":"):
            return ""
        return _from_json(line) if _LOUD_JSON.search(line) else ""
    plain = _COLOUR.sub(b"", line)
    if (_LOUD_WORD.search(plain) or _LOUD_MARK.search(plain)) and not _QUIET.search(plain):
        return plain.decode("utf-8", "replace").strip()
    return ""


def _from_json(line: bytes) -> str:
    """Say a line of observability/logs.py in words: level, event, why, and what it carries."""
    try:
        record = json.loads(line)
    except ValueError:
        return line.decode("utf-8", "replace").strip()
    text = f"{str(record.get('level', '')).lower()}: {record.get('event', '')}"
    if why := record.get("why"):
        return f"{text}: {why}"
    error = record.get("error")
    if isinstance(error, dict):
        text += f": {error.get('type')} {error.get('text', '')}".rstrip()
    carried = (
        f"{key}={value}"
        for key, value in record.items()
        if key not in _FRAME and isinstance(value, str | int | float)
    )
    return " ".join((text, *carried))


_FRAME: Final = frozenset({"time", "level", "service", "logger", "event", "error", "trace_id"})
