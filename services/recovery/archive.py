"""The file of a backup: one stream of entries, compressed with gzip, with a SHA-256 over all of it at the end.

Layout after decompression: the line MAGIC, a line of JSON (what and when), then frames. A frame is its size (4 bytes,
big-endian) and that many bytes: a list of byte strings, each after its size (4 bytes). The list is kind, key,
milliseconds left to live (-1 for ever), then the values; a large key comes in several frames. A frame of size 0 ends
them; the 32 bytes of the digest of everything before follow.
"""

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self

from scheduler.errors import ForebayError

VERSION: Final = 1
MAGIC: Final = b"forebay backup\n"
_SIZE: Final = struct.Struct(">I")
_LONGEST_FRAME: Final = 1 << 30
_LEVEL: Final = 1
"""gzip's fastest: envelopes do not shrink much more with others."""


class ArchiveUnusable(ForebayError):
    """A file is no backup, is damaged, or is of another version."""

    reason = "ARCHIVE_UNUSABLE"


class Entry(NamedTuple):
    """One key, or a part of a large one."""

    kind: str
    """string, hash, set, zset, list or stream."""
    key: bytes
    ttl_ms: int
    """Milliseconds left to live when it was read; -1 for ever."""
    values: list[bytes]
    """string: value; hash: field, value, …; set and list: members; zset: member, score, …; stream: for each entry its
    id, the number of fields and values, and those."""


class ArchiveWriter:
    """Writes a backup; without `finish` the file is not one."""

    def __init__(self, file: IO[bytes], about: Mapping[str, Any]) -> None:
        """Begin with a header."""
        self._digest = hashlib.sha256()
        # The compressed bytes do not depend on when and where they were made.
        self._stream = gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=file, mtime=0)
        self._write(MAGIC)
        self._write(json.dumps({"version": VERSION, **about}).encode() + b"\n")

    def add(self, entry: Entry) -> None:
        """Write one entry."""
        parts = [entry.kind.encode(), entry.key, str(entry.ttl_ms).encode(), *entry.values]
        body = b"".join([_SIZE.pack(len(part)) + part for part in parts])
        self._write(_SIZE.pack(len(body)) + body)

    def finish(self) -> None:
        """Write the end."""
        self._write(_SIZE.pack(0))
        self._stream.write(self._digest.digest())
        self._stream.close()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._stream.write(data)


class ArchiveReader:
    """Reads a backup from its beginning to its end; the digest is checked at the end."""

    def __init__(self, path: Path) -> None:
        """Open it and read the header. Raises ArchiveUnusable, OSError."""
        self._digest = hashlib.sha256()
        self._stream = gzip.open(path, "rb")
        try:
            if self._read(len(MAGIC)) != MAGIC:
                raise ArchiveUnusable(f"{path} is not a backup of forebay")
            header = self._stream.readline(1 << 16)
            self._digest.update(header)
            self.about: dict[str, Any] = json.loads(header)
        except (EOFError, gzip.BadGzipFile, ValueError) as error:
            self._stream.close()
            raise ArchiveUnusable(f"{path} is not a backup of forebay") from error
        except BaseException:
            self._stream.close()
            raise
        if self.about.get("version") != VERSION:
            self._stream.close()
            raise ArchiveUnusable(
                f"{path} has version {self.about.get('version')}; this forebay reads {VERSION}"
            )
        self._path = path

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._stream.close()

    def entries(self) -> Iterator[Entry]:
        """Yield all entries. Raises ArchiveUnusable when the file is cut off or not what was written."""
        try:
            while size := _SIZE.unpack(self._read(_SIZE.size))[0]:
                if size > _LONGEST_FRAME:
                    raise ArchiveUnusable(f"{self._path} is damaged")
                kind, key, ttl_ms, *values = _parts(self._read(size))
                yield Entry(kind.decode(), key, int(ttl_ms), values)
            expected = self._digest.digest()
            found = self._stream.read(len(expected) + 1)
        except (EOFError, OSError, struct.error, ValueError) as error:
            raise ArchiveUnusable(f"{self._path} is damaged or cut off") from error
        except zlib.error as error:
            raise ArchiveUnusable(f"{self._path} is damaged or cut off") from error
        if found != expected:
            raise ArchiveUnusable(f"{self._path} is damaged: its SHA-256 is not that of its contents")

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) != size:
            raise EOFError
        self._digest.update(data)
        return data


def _parts(body: bytes) -> Sequence[bytes]:
    parts = []
    at = 0
    while at < len(body):
        (size,) = _SIZE.unpack_from(body, at)
        at += _SIZE.size
        if at + size > len(body):
            raise ValueError("a part is longer than its frame")
        parts.append(body[at : at + size])
        at += size
    if len(parts) < 3:
        raise ValueError("a frame without kind, key and life")
    return parts
