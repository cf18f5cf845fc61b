"""The tiers of the result cache that `forebay up` brings where the cache is on, unless settings say otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.cache_settings import SharedCacheSettings
from services.cli.settings import section_class
from services.cli.up.plan import Embedded
from services.embedded import valkey
from services.settings import load

REDIS_URL: Final = "FOREBAY_CACHE_REDIS_URL"
DISK_FOLDER: Final = "FOREBAY_CACHE_DISK_FOLDER"
SERVER: Final = "valkey-cache"
_ROOM: Final = 1.25
"""What the server may use for each byte of the tier: names, indexes, and what its allocator wastes."""
_LEAST_ROOM_BYTES: Final = 16 << 20


def cache_settings(variables: Mapping[str, str]) -> SharedCacheSettings:
    """Return the settings that the gateway will have. Raises StartupRefused with every fault."""
    found: SharedCacheSettings = load(section_class("cache"), section="cache", file=None, environ=variables)
    return found


def embedded_cache(
    settings: SharedCacheSettings, variables: Mapping[str, str], data: Path
) -> Embedded | None:
    """Return the server of the tier in Redis; None where there is no cache, it has another server, or the setting is
    there and empty.
    """
    if not settings.enabled or REDIS_URL in variables:
        return None
    folder, socket = data / SERVER, data / f"{SERVER}.sock"
    folder.mkdir(exist_ok=True)
    most = round(settings.redis_bytes * _ROOM) + _LEAST_ROOM_BYTES
    return Embedded(tuple(valkey.cache_command(folder, socket, most)), valkey.address(socket))


def with_disk(settings: SharedCacheSettings, variables: Mapping[str, str], data: Path) -> dict[str, str]:
    """Return the variables with the folder of the tier on disk, where there is a cache and they do not name one."""
    if not settings.enabled or DISK_FOLDER in variables:
        return dict(variables)
    return {**variables, DISK_FOLDER: str(data / "cache")}
