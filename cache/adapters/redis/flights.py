"""Flights that all gateways share, and the chunks of those that are followed: Lua scripts, fenced by a number.

fb:c:{<namespace, hex>}:f:<digest, hex>            a flight: a hash, see begin_flight.lua; kept for its lease and
ten seconds more
fb:c:{<namespace, hex>}:f:<digest, hex>:<fence>    its chunks: a stream, trimmed, gone a minute after the last
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from cache.adapters.redis.gathering import trips_of
from cache.adapters.redis.names import prefix
from cache.adapters.redis.news import CHANNEL, POLL_S, News, until_set
from cache.adapters.redis.scripts import load_script
from cache.flights.chunks import MOST_CHUNKS
from cache.flights.relay import Numbered
from cache.flights.rules import LINGER_MS
from cache.ports import FlightsAway, Following, Key, Landing, LandingKind, Leading, Renewed
from scheduler.adapters.redis.connection import Argument, Command
from scheduler.adapters.redis.scripts import Script
from scheduler.errors import RecordsUnavailable

MOST_BYTES: Final = 4 << 20
"""Bytes of chunks that one flight may bring; after them its followers wait for the answer."""
KEEP_MS: Final = 60_000
READ_AT_ONCE: Final = 256

LETTERS: Final = {
    LandingKind.STORED: b"s",
    LandingKind.FAILED: b"f",
    LandingKind.ABANDONED: b"a",
}
KINDS: Final = {letter: kind for kind, letter in LETTERS.items()}


class RedisFlights:
    """Flights on Redis. Does not own the client, whose time-out is the deadline of each call."""

    def __init__(self, client: Redis, news: News) -> None:
        self._trips, self._news = trips_of(client), news
        self._begin, self._land = load_script("begin_flight"), load_script("land_flight")
        self._renew = load_script("renew_flight")

    async def begin(
        self, key: Key, who: str, lease_ms: int, level: int, began_ms: int = 0, past: int = 0
    ) -> Leading | Following:
        """Take the lead or join; see Flights."""
        arguments: list[Argument] = [who, lease_ms, LINGER_MS, began_ms, past, CHANNEL]
        arguments += (key.digest.hex(), level)
        with _away():
            [[turn]] = await self._trips.run(self._begin, [(_flights(key.namespace), arguments)])
        return _turn(turn)

    async def begin_all(
        self, wanted: Sequence[tuple[Key, int]], who: str, lease_ms: int, began_ms: int = 0
    ) -> list[Leading | Following]:
        """Begin many; see Flights."""
        split = _by_namespace([key for key, _ in wanted])
        calls: list[tuple[str, Sequence[Argument]]] = []
        for namespace, places in split.items():
            arguments: list[Argument] = [who, lease_ms, LINGER_MS, began_ms, 0, CHANNEL]
            for place in places:
                key, level = wanted[place]
                arguments += (key.digest.hex(), level)
            calls.append((_flights(namespace), arguments))
        replies = await self._ask(self._begin, calls)
        return [_turn(turn) for turn in _in_order(split, replies, len(wanted))]

    async def renew(self, held: Sequence[tuple[Key, int]], lease_ms: int) -> list[Renewed]:
        """Keep the lead; see Flights."""
        calls: list[tuple[str, Sequence[Argument]]] = [
            (flight_name(key), [fence, lease_ms, LINGER_MS]) for key, fence in held
        ]
        if not calls:
            return []
        with _away():
            replies = await self._trips.run(self._renew, calls)
        return [Renewed(bool(ok), level) for ok, level in replies]

    async def land(self, key: Key, fence: int, outcome: Landing) -> bool:
        """End a flight; see Flights."""
        how = LETTERS[outcome.kind] + outcome.detail
        arguments: list[Argument] = [LINGER_MS, CHANNEL, key.digest.hex(), fence, how]
        with _away():
            [[landed]] = await self._trips.run(self._land, [(_flights(key.namespace), arguments)])
        return bool(landed)

    async def land_all(self, ends: Sequence[tuple[Key, int, Landing]]) -> list[bool]:
        """End many flights; see Flights."""
        split = _by_namespace([key for key, _, _ in ends])
        calls: list[tuple[str, Sequence[Argument]]] = []
        for namespace, places in split.items():
            arguments: list[Argument] = [LINGER_MS, CHANNEL]
            for place in places:
                key, fence, outcome = ends[place]
                arguments += (key.digest.hex(), fence, LETTERS[outcome.kind] + outcome.detail)
            calls.append((_flights(namespace), arguments))
        replies = await self._ask(self._land, calls)
        return [bool(landed) for landed in _in_order(split, replies, len(ends))]

    async def ended(self, key: Key, fence: int) -> Landing | None:
        """Wait for the end of a flight; see Flights."""
        name = flight_name(key)
        questions: list[Command] = [("HMGET", name, "f", "u", "o"), ("TIME",)]
        with self._news.of(name) as event:
            while True:
                with _away():
                    (number, until_ms, how), (seconds, micros) = await self._trips.ask(questions)
                if number is None or int(number) != fence:
                    return None
                if how is not None:
                    return Landing(KINDS[how[:1]], how[1:])
                left_ms = int(until_ms) - (int(seconds) * 1000 + int(micros) // 1000)
                if left_ms <= 0:
                    return None
                await until_set(event, min(POLL_S, left_ms / 1000))

    async def _ask(self, script: Script, calls: Sequence[tuple[str, Sequence[Argument]]]) -> Sequence[Any]:
        """Run a script for each namespace."""
        if not calls:
            return []
        with _away():
            return await self._trips.run(script, calls)


class RedisRelay:
    """Relay on Redis. Does not own the client."""

    def __init__(
        self, client: Redis, news: News, *, most_chunks: int = MOST_CHUNKS, most_bytes: int = MOST_BYTES
    ) -> None:
        self._trips, self._news = trips_of(client), news
        self._limits = most_chunks, most_bytes
        self._send = load_script("send_chunks")

    async def send(self, key: Key, fence: int, chunks: Sequence[Numbered]) -> bool:
        """Add chunks; see Relay."""
        arguments: list[Argument] = [fence, *self._limits, KEEP_MS, CHANNEL]
        for place, body in chunks:
            arguments += (place, body)
        with _away():
            [sent] = await self._trips.run(self._send, [(flight_name(key), arguments)])
        return bool(sent)

    async def read(self, key: Key, fence: int, cursor: bytes, *, wait: bool) -> tuple[list[Numbered], bytes]:
        """Return the chunks behind a cursor; see Relay."""
        name = flight_name(key)
        after = b"(" + cursor if cursor else b"-"
        question: Command = ("XRANGE", f"{name}:{fence}", after, "+", "COUNT", READ_AT_ONCE)
        with self._news.of(name) as event:
            while True:
                with _away():
                    [found] = await self._trips.ask([question])
                if found or not wait:
                    chunks = [Numbered(int(fields[1]), fields[3]) for _, fields in found]
                    return chunks, found[-1][0] if found else cursor
                await until_set(event, POLL_S)


def flight_name(key: Key) -> str:
    """Return the name of a key's flight."""
    return f"{_flights(key.namespace)}{key.digest.hex()}"


def _flights(namespace: bytes) -> str:
    """Return how the names of a namespace's flights begin."""
    return f"{prefix(namespace)}f:"


def _turn(turn: Sequence[Any]) -> Leading | Following:
    leads, fence, third, began_ms = turn
    return Leading(int(fence), bool(third)) if leads else Following(third.decode(), int(fence), int(began_ms))


def _by_namespace(keys: Sequence[Key]) -> dict[bytes, list[int]]:
    """Return the places of keys by their namespace."""
    split: dict[bytes, list[int]] = {}
    for place, key in enumerate(keys):
        split.setdefault(key.namespace, []).append(place)
    return split


def _in_order(
    split: Mapping[bytes, Sequence[int]], replies: Sequence[Sequence[Any]], count: int
) -> list[Any]:
    """Put the replies of all namespaces into the order in which was asked."""
    found: list[Any] = [None] * count
    for places, reply in zip(split.values(), replies, strict=True):
        for place, answer in zip(places, reply, strict=True):
            found[place] = answer
    return found


@contextmanager
def _away() -> Iterator[None]:
    """Turn what a server says that is not there, or cannot take anything, into FlightsAway."""
    try:
        yield
    except (RecordsUnavailable, RedisError) as error:
        raise FlightsAway(f"the shared flights do not answer ({type(error).__name__})") from error
