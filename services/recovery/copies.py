"""Backup and restore of the records. Called by `__main__.py` for `forebay backup` and `forebay restore`.

Reading and writing files blocks the loop here, which nothing else uses in this process.
"""

import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from scheduler.errors import StartupRefused
from services.recovery import snapshot
from services.recovery.archive import ArchiveReader, ArchiveWriter
from services.recovery.snapshot import StoreNotEmpty


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied."""

    keys: int
    file: str
    file_bytes: int


async def backup(client: Redis, path: Path) -> Copied:
    """Copy all keys into a file, which is there only when it is complete, and readable for its owner only.

    Raises RecordsUnavailable; StartupRefused when the file cannot be written. Cancelling it leaves no file.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    keys = 0
    before = b""
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: ASYNC230  # nothing else uses this loop
            archive = ArchiveWriter(file, {"time_ms": time.time_ns() // 1_000_000})
            async with aclosing(snapshot.entries(client)) as entries:
                async for entry in entries:
                    archive.add(entry)
                    keys += entry.key != before
                    before = entry.key
            archive.finish()
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        return Copied(keys, str(path), os.stat(path).st_size)
    except OSError as error:
        raise StartupRefused(f"{path} cannot be written ({error.strerror})") from error
    finally:
        unfinished.unlink(missing_ok=True)


async def restore(client: Redis, path: Path) -> Copied:
    """Write a backup into a store without keys of the platform. The whole file is checked first.

    Raises ArchiveUnusable, StoreNotEmpty, RecordsUnavailable; StartupRefused when the file cannot be read.
    """
    try:
        with ArchiveReader(path) as archive:
            for _ in archive.entries():
                pass
        if not await snapshot.is_empty(client):
            raise StoreNotEmpty(
                "the store has keys of forebay already (fb:*), from a platform or from a restore that was interrupted: "
                "restore into an empty one"
            )
        with ArchiveReader(path) as archive:
            keys = await snapshot.write(client, archive.entries())
        return Copied(keys, str(path), os.stat(path).st_size)
    except OSError as error:
        raise StartupRefused(f"{path} cannot be read ({error.strerror})") from error
