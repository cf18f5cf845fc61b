"""A RocksDB database of entries, as blocking calls for one thread.

`rocksdict` holds the interpreter's lock while it reads or writes, and lets go of it while it flushes and compacts.
So nothing is written ahead to a log and no write waits for the disk: entries reach it when the table in memory is
flushed, and a crash loses what was written last. Reads and writes take few pieces at a time. Facts are there before
the first piece and until after the last, so that a crash in between leaves no piece that nothing knows of. Files with
many deletions are compacted soon, so that what was deleted leaves the disk.

The access type of `rocksdict` with a time to live is not used: once opened again, 0.3.29 drops whatever it compacts.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rocksdict import DBCompressionType, Options, Rdict, WriteBatch, WriteOptions

from cache.adapters.disk.faults import DatabaseFault, faults
from cache.adapters.disk.layout import (
    FACTS,
    PIECE_BYTES,
    Facts,
    facts_name,
    key_of,
    pack_facts,
    piece_name,
    read_facts,
)
from cache.ports import Key

_WRITE_BYTES: Final = 512 << 10
"""How much is written in one call, for which the interpreter stands still."""
_TABLE_BYTES: Final = 16 << 20
_STALLS: Final = 20
"""How many times a write waits for a flush before it fails."""
_Change = tuple[bytes, bytes | None]
"""A name and its value; None: it is deleted."""


class Database:
    """One open database. Every method but `__init__` may raise DatabaseFault, and DatabaseDamaged of them."""

    def __init__(self, folder: Path) -> None:
        """Open the database, which is made when it is not there. Raises DiskInUse, DatabaseFault."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Answers lie in it as they are: they are nobody else's to read, whatever the umask or an earlier version left.
        folder.chmod(0o700)
        with faults():
            # Named for the column family too: else those of the last time are read from a file, which lacks some.
            self._db = Rdict(str(folder), _options(), {"default": _options()})
        self._write = WriteOptions()
        # A property, which the stub takes for a method.
        self._write.disable_wal = True  # type: ignore[method-assign, assignment]
        self._write.no_slowdown = True

    def read(self, key: Key, pieces: int) -> bytes | None:
        """Return a stored form; None when a piece of it is not there."""
        parts: list[bytes] = []
        with faults():
            for number in range(pieces):
                part: bytes | None = self._db.get(piece_name(key, number))
                if part is None:
                    return None
                parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def put(self, entries: Sequence[tuple[Key, Facts, bytes]], removed: Sequence[tuple[Key, int]]) -> None:
        """Write entries, after removing others, each given with its number of pieces."""
        changes: list[_Change] = []
        waiting = 0
        for key, pieces in removed:
            changes += ((piece_name(key, number), None) for number in range(pieces))
            changes.append((facts_name(key), None))
        for key, facts, stored in entries:
            changes.append((facts_name(key), pack_facts(facts)))
            for number in range(facts.pieces):
                at = number * PIECE_BYTES
                changes.append((piece_name(key, number), stored[at : at + PIECE_BYTES]))
                waiting += min(PIECE_BYTES, facts.size - at)
                if waiting > _WRITE_BYTES:
                    self._change(changes)
                    changes, waiting = [], 0
        self._change(changes)

    def facts(self, after: Key | None, limit: int) -> list[tuple[Key, Facts]]:
        """Return facts in the order of keys, from the one behind `after`."""
        start = FACTS if after is None else facts_name(after) + b"\0"
        found: list[tuple[Key, Facts]] = []
        with faults(), self._items(start) as items:
            for name, value in items:
                if not isinstance(name, bytes) or not name.startswith(FACTS) or len(found) >= limit:
                    break
                found.append((key_of(name), read_facts(value)))
        return found

    def facts_of(self, keys: Sequence[Key]) -> list[Facts | None]:
        """Return the facts of entries; None where there is none."""
        found: list[Facts | None] = []
        with faults():
            for key in keys:
                value: bytes | None = self._db.get(facts_name(key))
                found.append(None if value is None else read_facts(value))
        return found

    def flush(self) -> None:
        """Write what is in memory into files, so that a crash does not lose it."""
        with faults():
            self._db.flush(True)

    @contextmanager
    def _items(self, start: bytes) -> Iterator[Iterator[tuple[object, bytes]]]:
        """Iterate from a name on. What iterates keeps the database open, and an error would keep that alive."""
        items = [self._db.items(from_key=start)]
        try:
            yield items[0]
        finally:
            items.clear()

    def _change(self, changes: Sequence[_Change]) -> None:
        """Write at once. When the database has too much to flush, wait for that, with the interpreter's lock free."""
        for last in (*[False] * _STALLS, True):
            batch = WriteBatch(raw_mode=True)
            for name, value in changes:
                if value is None:
                    batch.delete(name)
                else:
                    batch.put(name, value)
            try:
                with faults():
                    self._db.write(batch, self._write)
                return
            except DatabaseFault as fault:
                if last or "stall" not in str(fault):
                    raise
            self.flush()

    def close(self) -> None:
        """Flush and close."""
        with faults():
            self._db.close()


def discard(folder: Path) -> None:
    """Remove a database that cannot be used. Raises OSError."""
    shutil.rmtree(folder)


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_compression_type(DBCompressionType.none())  # entries are compressed where that is worth it
    options.set_write_buffer_size(_TABLE_BYTES)
    options.set_max_write_buffer_number(3)
    options.set_max_background_jobs(2)
    options.set_max_open_files(256)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(1 << 20)
    # Of a thousand keys in a row, a third deleted: the file is compacted.
    options.add_compact_on_deletion_collector_factory(1000, 333, 0.33)
    return options
