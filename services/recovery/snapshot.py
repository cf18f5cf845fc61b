"""Copies every key of the platform out of a store and into another, in commands that Redis and Valkey both know.

Guarantees of a copy while the platform works: each key is read in one step, so every record, schedule and pause is
whole; keys that are read in pieces (listings and other large sets) have every member that was there all the time.
Keys are read one after another, so two of them may show different moments: `forebay recover --republish` after a
restore mends what the moments differ in, together with the sweeper.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from scheduler.adapters.redis.connection import Argument, Command, round_trip
from scheduler.errors import ForebayError, RecordsUnavailable
from services.recovery.archive import Entry

PATTERN: Final = "fb:*"
PAGE: Final = 500
"""Keys that are looked at in one step."""
LARGE: Final = 1_000
"""Members above which a set is read in pieces."""
PIECE_BYTES: Final = 4 << 20
"""A step of writing takes so many bytes, or one entry."""

_READ: Final[dict[str, tuple[str, ...]]] = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", "0", "-1", "WITHSCORES"),
    "list": ("LRANGE", "0", "-1"),
    "stream": ("XRANGE", "-", "+"),
}
_SCAN: Final = {"hash": "HSCAN", "set": "SSCAN", "zset": "ZSCAN"}
_COUNT: Final = {"hash": "HLEN", "set": "SCARD", "zset": "ZCARD"}
_RECORDS: Final = b":t:"
"""In the names of records, which are read in one step however many fields they have."""
_WRITE: Final = {"string": "SET", "hash": "HSET", "set": "SADD", "zset": "ZADD", "list": "RPUSH"}


class StoreNotEmpty(ForebayError):
    """A restore was asked for into a store that has records already."""

    reason = "STORE_NOT_EMPTY"


async def is_empty(client: Redis) -> bool:
    """Whether the store has no key of the platform. Raises RecordsUnavailable."""
    async with aclosing(_keys(client)) as pages:
        async for _ in pages:
            return False
    return True


async def entries(client: Redis) -> AsyncGenerator[Entry, None]:
    """Read every key. One that exists all the time is met at least once, and given once. Raises RecordsUnavailable."""
    async for keys in _keys(client):
        kinds = [kind.decode() for kind in await round_trip(client, [("TYPE", key) for key in keys])]
        sizes = await round_trip(
            client,
            [(_COUNT.get(kind, "EXISTS"), key) for key, kind in zip(keys, kinds, strict=True)],
        )
        for key, kind, size in zip(keys, kinds, sizes, strict=True):
            if kind not in _READ or isinstance(size, ResponseError):
                continue
            if kind in _SCAN and size > LARGE and _RECORDS not in key:
                async for entry in _in_pieces(client, kind, key):
                    yield entry
            else:
                whole = await _at_once(client, kind, key)
                if whole:
                    yield whole


async def write(client: Redis, found: Iterator[Entry]) -> int:
    """Write entries into a store; returns how many keys they were. Raises RecordsUnavailable, ForebayError."""
    keys = 0
    before = b""
    commands: list[Command] = []
    size = 0
    for entry in found:
        keys += entry.key != before
        before = entry.key
        for command in _commands(entry):
            commands.append(command)
            size += sum(len(word) if isinstance(word, bytes | str) else 8 for word in command)
        if entry.ttl_ms >= 0:
            commands.append(("PEXPIRE", entry.key, max(1, entry.ttl_ms)))
        if size > PIECE_BYTES or len(commands) > PAGE:
            await _send(client, commands)
            commands, size = [], 0
    await _send(client, commands)
    return keys


async def _send(client: Redis, commands: list[Command]) -> None:
    if commands:
        for reply in await round_trip(client, commands):
            if isinstance(reply, ResponseError):
                raise RecordsUnavailable(f"the record store refused a part of the backup: {reply}")


async def _keys(client: Redis) -> AsyncGenerator[list[bytes], None]:
    """Yield the names of all keys in pages, each name once."""
    # A server repeats names while its table grows or shrinks: hashes of those that were given keep this small.
    seen: set[int] = set()
    cursor: Argument = 0
    while True:
        cursor, page = (await round_trip(client, [("SCAN", cursor, "MATCH", PATTERN, "COUNT", PAGE)]))[0]
        fresh = [key for key in dict.fromkeys(page) if hash(key) not in seen]
        seen.update(map(hash, fresh))
        if fresh:
            yield fresh
        if int(cursor) == 0:
            return


async def _at_once(client: Redis, kind: str, key: bytes) -> Entry | None:
    """Read a key and its life in one transaction; None when it is gone by now."""
    command: Command = (_READ[kind][0], key, *_READ[kind][1:])
    replies = await round_trip(client, [("MULTI",), command, ("PTTL", key), ("EXEC",)])
    if isinstance(replies[-1], ResponseError):
        return None
    value, ttl_ms = replies[-1]
    if ttl_ms == -2 or isinstance(value, ResponseError):
        return None
    return Entry(kind, key, ttl_ms, _flat(kind, value))


async def _in_pieces(client: Redis, kind: str, key: bytes) -> AsyncGenerator[Entry, None]:
    cursor: Argument = 0
    while True:
        reply, ttl_ms = await round_trip(client, [(_SCAN[kind], key, cursor, "COUNT", LARGE), ("PTTL", key)])
        if isinstance(reply, ResponseError):
            return
        cursor, values = reply
        if values and ttl_ms != -2:
            yield Entry(kind, key, ttl_ms, values)
        if int(cursor) == 0:
            return


def _flat(kind: str, value: Any) -> list[bytes]:
    if kind == "string":
        return [value]
    if kind != "stream":
        return list(value)
    flat: list[bytes] = []
    for entry_id, fields in value:
        flat += [entry_id, str(len(fields)).encode(), *fields]
    return flat


def _commands(entry: Entry) -> Iterator[Command]:
    """Turn an entry into commands that make it."""
    values = entry.values
    match entry.kind:
        case "zset":
            pairs = [word for at in range(0, len(values), 2) for word in (values[at + 1], values[at])]
            yield ("ZADD", entry.key, *pairs)
        case "stream":
            at = 0
            while at < len(values):
                count = int(values[at + 1])
                yield ("XADD", entry.key, values[at], *values[at + 2 : at + 2 + count])
                at += 2 + count
        case kind if kind in _WRITE:
            if values:
                yield (_WRITE[kind], entry.key, *values)
        case kind:
            raise ForebayError(f"the backup has a key of the kind {kind}, which this forebay does not know")
