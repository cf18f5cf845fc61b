"""The tags of tenants beside the entries on disk.

forebay-tenants    magic, the tags, SHA-256 of all before
"""

import asyncio
import hashlib
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final

from cache.adapters.disk.files import replace_file
from cache.ports import PurgesAway
from cache.tenants import TENANT_TAG_BYTES

logger = logging.getLogger(__name__)

FILE: Final = "forebay-tenants"
_MAGIC: Final = b"forebay tenants 1\0"
_DIGEST_BYTES: Final = 32


class DiskTenants:
    """TenantTags in a folder. For one process at a time, and one call."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    async def read(self) -> frozenset[bytes]:
        """Return those that are known, none where the file is damaged; see TenantTags."""
        return await asyncio.to_thread(self._read)

    async def change(self, added: Collection[bytes], gone: Collection[bytes]) -> None:
        """Add some and take some out; see TenantTags."""
        await asyncio.to_thread(self._write, (await self.read()).union(added).difference(gone))

    def _read(self) -> frozenset[bytes]:
        try:
            content = self._file.read_bytes()
        except FileNotFoundError:
            return frozenset()
        except OSError as error:
            raise PurgesAway(
                f"the list of tenants on disk cannot be read ({type(error).__name__})"
            ) from error
        body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
        if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            logger.warning("list of tenants on disk damaged")
            return frozenset()
        starts = range(len(_MAGIC), len(body), TENANT_TAG_BYTES)
        return frozenset(body[start : start + TENANT_TAG_BYTES] for start in starts)

    def _write(self, tags: frozenset[bytes]) -> None:
        body = b"".join((_MAGIC, *sorted(tags)))
        try:
            replace_file(self._file, body + hashlib.sha256(body).digest())
        except OSError as error:
            raise PurgesAway(
                f"the list of tenants on disk cannot be written ({type(error).__name__})"
            ) from error
