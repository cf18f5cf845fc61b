"""The purge markers beside the entries on disk, so that none of them is forgotten while its entries may come back.

    markers    magic, for each marker its length and itself, SHA-256 of all before

The file lies beside the tier's database and stays when that is thrown away. It is written anew with each change, beside
the old one and then in its place, and is on the disk before a purge is answered. Only this process's user may read it.
"""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import Struct
from typing import Final

from cache.adapters.disk.files import replace_file
from cache.marker import pack_marker, unpack_marker
from cache.ports import Purge

logger = logging.getLogger(__name__)

FILE: Final = "forebay-purges"
_MAGIC: Final = b"forebay purges 1\0"
_HEAD: Final = Struct("<QI")
_DIGEST_BYTES: Final = 32


class DiskPurgeCopy:
    """PurgeCopy in a folder, which is made when it is not there. For one process at a time."""

    def __init__(self, folder: Path, now_ms: Callable[[], int]) -> None:
        self._file = folder / FILE
        self._now_ms = now_ms
        self._turn = asyncio.Lock()
        self._lock = threading.Lock()
        self._latest: list[Purge] = []
        self._begun = 0
        self._written = 0
        self._told = False
        """Whether the log says that nothing can be written."""

    async def intact(self) -> bool:
        """Tell whether what is there is what was written; also where nothing is."""
        return await asyncio.to_thread(self._body) is not None

    async def read(self) -> list[Purge]:
        """Return the markers; see PurgeCopy."""
        return await asyncio.to_thread(self._read)

    async def write(self, purges: Sequence[Purge]) -> bool:
        """Put these in place of what was kept; see PurgeCopy. Those who come while it is being written are written
        together, as the last of them is: it is in place of the others.
        """
        self._begun += 1
        self._latest = list(purges)
        number = self._begun
        async with self._turn:
            if self._written < number:
                await asyncio.to_thread(self._write, self._latest, self._begun)
            return self._written >= number

    def _read(self) -> list[Purge]:
        body = self._body()
        if body is None:
            return [Purge(self._now_ms())]
        purges, at = [], len(_MAGIC)
        while at < len(body):
            before_ms, length = _HEAD.unpack_from(body, at)
            at += _HEAD.size
            purges.append(unpack_marker(body[at : at + length], before_ms))
            at += length
        return purges

    def _body(self) -> bytes | None:
        """Return what was written, without its digest; None for what is damaged or cannot be read."""
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return _MAGIC
        except OSError as error:
            logger.warning("purge markers on disk not readable", extra={"cause": str(error)})
            return None
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            logger.warning("purge markers on disk damaged")
            return None
        return body

    def _write(self, purges: list[Purge], number: int) -> None:
        parts = [_MAGIC]
        for purge in purges:
            packed = pack_marker(purge)
            parts += (_HEAD.pack(purge.before_ms, len(packed)), packed)
        body = b"".join(parts)
        with self._lock:
            # One whose caller was cancelled is still on its way, perhaps behind a later one.
            if number < self._written:
                return
            try:
                replace_file(self._file, body + hashlib.sha256(body).digest())
            except OSError as error:
                if not self._told:
                    logger.error("purge markers on disk not written", extra={"cause": str(error)})
                self._told = True
            else:
                self._written = number
                self._told = False
