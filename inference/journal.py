"""The runner's black box: a small memory-mapped file that tells, after any death, which attempts the runner held and
which of them its engine was executing.

The runner writes it, its agent reads it once the runner has ended (inference/agent/post_mortem.py). What a process
has written into a mapping outlives its SIGKILL, whole stores in program order, so numbers before and after a write
show one that was cut off. It does not outlive the host, and needs not: leases run out then.

Calls that came directly, which have no record, are noted only so far as they may be to blame: how many the runner
holds, and whether some are among what is executed; their keys are those of no attempt.

Two parts, each twice. *Executing* is one list, written anew into the older of two buffers. *Held* is a log to which
assignments are appended; a full one is begun anew, with what is held then, in the other place. So an attempt stays in
it for a while after its end: the record store tells which of them are over.
"""

import mmap
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple, Protocol

EXECUTING_BYTES: Final = 64 * 1024
"""Room for some 1,500 attempts; what does not fit is left to the leases."""
HELD_BYTES: Final = 128 * 1024
"""Room for some 3,000 attempts."""

_MAGIC: Final = b"forebay journal 2\n"
_WORD: Final = Struct("=Q")
_TWO_WORDS: Final = Struct("=QQ")
_HEADER_BYTES: Final = 24
"""Number of the write, length, and the number again once it is complete."""
_CALLS: Final = 32
"""Where the number of direct calls is."""
_EXECUTING: Final = (64, 64 + _HEADER_BYTES + EXECUTING_BYTES)
_HELD_FROM: Final = _EXECUTING[1] + _HEADER_BYTES + EXECUTING_BYTES
_HELD: Final = (_HELD_FROM, _HELD_FROM + _HEADER_BYTES + HELD_BYTES)
_FILE_BYTES: Final = _HELD[1] + _HEADER_BYTES + HELD_BYTES


class Holding(Protocol):
    """What is noted of an attempt."""

    key: str
    """`<task id>#<attempt>`."""
    isolation: str


class JournalWriter:
    """Writes the file. `executing` is for the engine's thread, `took` for the event loop."""

    def __init__(self, path: Path) -> None:
        """Make the file, or empty it. Raises OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _FILE_BYTES)
            self._map = mmap.mmap(descriptor, _FILE_BYTES)
        finally:
            os.close(descriptor)
        self._map[: len(_MAGIC)] = _MAGIC
        self._writes = 0
        self._logs = 0
        self._used = HELD_BYTES

    def executing(self, keys: Collection[str]) -> None:
        """Note which attempts the engine executes from now on. The cost grows with their number, 20 ns each."""
        self._writes += 1
        _write(self._map, _EXECUTING[self._writes & 1], self._writes, _lines(keys, EXECUTING_BYTES))

    def calls(self, held: int) -> None:
        """Note how many direct calls the runner holds, before anything looks into them. For the event loop."""
        _WORD.pack_into(self._map, _CALLS, held)

    def took(self, tasks: Collection[Holding], held: Callable[[], Iterable[Holding]]) -> None:
        """Note attempts that were assigned; `held` returns all of them, these included, when the log is begun anew."""
        body = _lines(map(_line, tasks), HELD_BYTES)
        if self._used + len(body) > HELD_BYTES:
            self._logs += 1
            body = _lines(map(_line, held()), HELD_BYTES)
            _write(self._map, _HELD[self._logs & 1], self._logs, body)
            self._used = len(body)
            return
        log = _HELD[self._logs & 1]
        at = log + _HEADER_BYTES + self._used
        self._map[at : at + len(body)] = body
        self._used += len(body)
        # The length is what makes the lines count, so it comes last.
        _WORD.pack_into(self._map, log + _WORD.size, self._used)


class Attempt(NamedTuple):
    """One attempt that was found in the file."""

    id: str
    attempt: int
    isolation: str = ""


class Remains(NamedTuple):
    """What a runner left behind."""

    executing: tuple[Attempt, ...] = ()
    """What its engine was executing."""
    waiting: tuple[Attempt, ...] = ()
    """What else it held, in order of assignment; some of it may be over."""
    executing_calls: bool = False
    """Whether its engine was executing direct calls."""
    held_calls: bool = False
    """Whether it held any."""


def read_journal(path: Path) -> Remains:
    """Read what a runner that has ended left behind: nothing when it never got to write the file."""
    try:
        data = path.read_bytes()
    except OSError:
        return Remains()
    if len(data) != _FILE_BYTES or not data.startswith(_MAGIC):
        return Remains()
    held = {attempt[:2]: attempt for attempt in _attempts(_newest(data, _HELD))}
    newest = _newest(data, _EXECUTING)
    executing = tuple(held.pop(one[:2], one) for one in _attempts(newest))
    (calls,) = _WORD.unpack_from(data, _CALLS)
    return Remains(executing, tuple(held.values()), len(newest.splitlines()) > len(executing), calls > 0)


def _line(task: Holding) -> str:
    return f"{task.key} {task.isolation}" if task.isolation else task.key


def _lines(lines: Iterable[str], room: int) -> bytes:
    body = "\n".join(lines).encode()
    if not body:
        return body
    body += b"\n"
    return body if len(body) <= room else body[: body.rfind(b"\n", 0, room) + 1]


def _write(target: mmap.mmap, at: int, number: int, body: bytes) -> None:
    _TWO_WORDS.pack_into(target, at, number, len(body))
    start = at + _HEADER_BYTES
    target[start : start + len(body)] = body
    _WORD.pack_into(target, at + _TWO_WORDS.size, number)


def _newest(data: bytes, places: tuple[int, int]) -> bytes:
    """Return the body of the latest complete write."""
    newest, body = 0, b""
    for at in places:
        number, length = _TWO_WORDS.unpack_from(data, at)
        (ended,) = _WORD.unpack_from(data, at + _TWO_WORDS.size)
        if number == ended and number > newest:
            newest = number
            body = data[at + _HEADER_BYTES : at + _HEADER_BYTES + length]
    return body


def _attempts(body: bytes) -> Iterable[Attempt]:
    for line in body.decode(errors="replace").splitlines():
        key, _, isolation = line.partition(" ")
        task_id, _, attempt = key.rpartition("#")
        if task_id and attempt.isdecimal():
            yield Attempt(task_id, int(attempt), isolation)
