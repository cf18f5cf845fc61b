"""Task ids: `07-01kaj5x3c9f0e8q4v2m7t1b6zd`, a partition and a ULID.

The partition is part of the id so that anyone who holds an id knows where its record lives. The rest is a ULID
(https://github.com/ulid/spec: 48 bits of milliseconds, 80 random bits, Crockford base 32) in lower case, so ids of
one partition sort by time of creation.
"""

import re
import secrets
import zlib
from typing import Final

PARTITIONS: Final = 64
"""Number of record partitions, fixed for the life of a record store."""

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_PATTERN: Final = re.compile(r"[0-6][0-9]-[0-7][0-9a-hjkmnp-tv-z]{25}")


def new_ids(partition: int, count: int, now_ms: int) -> list[str]:
    """Return `count` fresh ids of a partition in ascending order.

    They share a random start and count up from it, as the ULID specification does within one millisecond:
    one draw of randomness serves a whole batch.
    """
    # 79 random bits: counting up by a batch cannot overflow the 80.
    start = (now_ms << 80) | secrets.randbits(79)
    head = f"{partition:02d}-"
    return [head + _encode(start + i) for i in range(count)]


def derived_id(digest: bytes, time_ms: int) -> str:
    """Return the id that follows from a digest of at least 11 bytes and a time: the same ones give the same id."""
    head = f"{digest[0] % PARTITIONS:02d}-"
    # 48 bits is what a ULID has for the time.
    return head + _encode((time_ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(digest[1:11], "big"))


def partition_of(task_id: str) -> int:
    """Return the partition of an id that `is_task_id` accepts."""
    return int(task_id[:2])


def partition_for(*parts: str) -> int:
    """Return the partition that a tuple of strings hashes to: the same in every process."""
    return zlib.crc32("\0".join(parts).encode()) % PARTITIONS


def is_task_id(text: str) -> bool:
    """Whether a text could have been made by `new_ids`."""
    return _PATTERN.fullmatch(text) is not None and partition_of(text) < PARTITIONS


def create_time_ms(task_id: str) -> int:
    """Return the milliseconds since the Unix epoch at which an id was made."""
    value = 0
    for char in task_id[3:13]:
        value = value * 32 + _ALPHABET.index(char)
    return value


def _encode(value: int) -> str:
    # Two characters at a time: 13 table look-ups for the 26 characters.
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)])
