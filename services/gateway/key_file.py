"""Keeps the keys in step with their file: a change holds within about a second, for calls that begin after it.

A file that cannot be used leaves the keys as they were, and is told of once; a file that is gone lets nobody new in and
nobody out.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from scheduler.errors import StartupRefused
from scheduler.ports.clock import Clock
from services.api_keys import KeyFileFault, digest_of, parse
from services.gateway.caller import Caller

INTERVAL_S: Final = 1.0
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""About 90,000 keys. What is larger is not read."""
MAX_KEY: Final = 512
"""Characters of a key that anybody may present."""
NOBODY: Final[Mapping[str, Caller]] = MappingProxyType({})

_LOG: Final = logging.getLogger(__name__)

Tenants = Mapping[str, Collection[str]]
"""Those who have a key, with the digests of their keys; empty instead of the digest of one that is in no file."""
Heard = Callable[[Tenants], Awaitable[bool]]
"""Called with all tenants at the start and after each change of the file; it must not raise. False: it is called again.
"""
Stamp = tuple[int, int, int]
"""Time of the last change in nanoseconds, size, inode: a file that another one replaced has another inode."""


class KeyRing:
    """The keys that hold now."""

    def __init__(self, callers: Mapping[str, Caller], always: Mapping[str, Caller] = NOBODY) -> None:
        """Callers are named by the digests of their keys; those of `always` hold whatever the others are."""
        self._always = always
        self.replace(callers)

    def replace(self, callers: Mapping[str, Caller]) -> None:
        """Let other keys hold from the next call on."""
        self._callers = {**callers, **self._always}

    @property
    def tenants(self) -> Tenants:
        """The tenants who have a key."""
        found: dict[str, set[str]] = {}
        for digest, caller in self._callers.items():
            found.setdefault(caller.tenant, set()).add("" if digest in self._always else digest)
        return found

    def __len__(self) -> int:
        return len(self._callers)

    def caller(self, key: str) -> Caller | None:
        """Return who has a key; None when nobody has."""
        return self._callers.get(digest_of(key)) if 0 < len(key) <= MAX_KEY else None


class KeyFile:
    """A file, and the keys that were read from it."""

    def __init__(
        self, path: Path, clock: Clock, always: Mapping[str, Caller] = NOBODY, heard: Heard | None = None
    ) -> None:
        """Read it; `always` holds beside it. Raises StartupRefused when it cannot be used."""
        self._path = path
        self._clock = clock
        self._heard = heard
        self._told = heard is None
        self._stamp = stamp_of(path)
        self.ring: Final = KeyRing(read(path), always)

    async def run(self) -> None:
        """Follow the file for ever."""
        while True:
            await self._clock.sleep(INTERVAL_S)
            await self.refresh()
            await self.tell()

    async def refresh(self) -> None:
        """Read the file again if it is not as it was."""
        stamp = await asyncio.to_thread(stamp_of, self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            callers = await asyncio.to_thread(read, self._path)
        except StartupRefused as fault:
            _LOG.error("api keys not changed", extra={"why": str(fault), "keys": len(self.ring)})
            return
        self.ring.replace(callers)
        self._told = self._heard is None
        _LOG.info("api keys changed", extra={"keys": len(callers)})

    async def tell(self) -> None:
        """Tell who the tenants are, unless that is known."""
        if self._heard is not None and not self._told:
            tenants = self.ring.tenants
            self._told = await self._heard(tenants) and tenants == self.ring.tenants


def read(path: Path) -> dict[str, Caller]:
    """Read a file of keys. Raises StartupRefused."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise KeyFileFault(f"it is larger than {MAX_FILE_BYTES} bytes")
        return {digest: Caller(*holder) for digest, holder in parse(raw.decode()).items()}
    except OSError as error:
        raise StartupRefused(f"the file of API keys {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StartupRefused(f"the file of API keys {path} is not UTF-8") from error
    except KeyFileFault as fault:
        raise StartupRefused(f"the file of API keys {path} cannot be used: {fault}") from fault


def stamp_of(path: Path) -> Stamp | None:
    """Return what changes when a file does; None when it cannot be seen."""
    try:
        seen = os.stat(path)
    except OSError:
        return None
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


@asynccontextmanager
async def key_file_followed(
    path: Path, clock: Clock, always: Mapping[str, Caller] = NOBODY, heard: Heard | None = None
) -> AsyncIterator[KeyRing]:
    """Follow a file of keys while the block lasts; `always` holds beside it, and `heard` is told who the
    tenants are.

    Raises StartupRefused when the file cannot be used at the start.
    """
    file = await asyncio.to_thread(KeyFile, path, clock, always, heard)
    await file.tell()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(file.run())
        try:
            yield file.ring
        finally:
            running.cancel()
