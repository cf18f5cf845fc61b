"""What is wrong with the address of a Redis or Valkey server, and whether two addresses are of one server."""

from typing import Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from scheduler.errors import StartupRefused

_SCHEMES: Final = ("redis", "rediss", "unix")
_PORT: Final = 6379


def redis_fault(url: str) -> str:
    """Say what is wrong with an address; empty when nothing is."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "its port must be a number from 1 to 65535"
    if parts.scheme not in _SCHEMES:
        return "it must be an address such as redis://127.0.0.1:6379/0, rediss://… or unix:///path/to.sock"
    if port == 0:
        return "its port must be a number from 1 to 65535"
    if parts.scheme == "unix":
        return "" if parts.path else "it names no socket"
    if not parts.hostname:
        return "it names no host"
    database = parts.path.strip("/") or next(iter(parse_qs(parts.query).get("db", ())), "")
    return "" if not database or database.isdecimal() else "its database must be a number"


def same_server(one: str, other: str) -> bool:
    """Tell whether two addresses name one server; in words alone, no name is looked up but that of this machine."""
    return not redis_fault(other) and _server(urlsplit(one)) == _server(urlsplit(other))


def check_apart(cache_url: str, records_url: str) -> None:
    """Raise StartupRefused when the cache would lie in the record store, which must never be full of it."""
    if cache_url and same_server(cache_url, records_url):
        raise StartupRefused(
            f"setting cache.redis_url: {without_password(cache_url)} is the server of the records (redis.url), which "
            "evicts nothing and must not be filled by a cache: name another server, with a maxmemory and an eviction "
            "policy, or leave the setting empty"
        )


def without_password(url: str) -> str:
    """Return an address as it may be shown."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://…@{after}" if at else url


def _server(parts: SplitResult) -> tuple[str, int]:
    if parts.scheme == "unix":
        return unquote(parts.path), 0
    host = parts.hostname or ""
    return ("127.0.0.1" if host in ("localhost", "::1") else host), parts.port or _PORT
