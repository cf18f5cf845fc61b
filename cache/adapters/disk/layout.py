"""How an entry lies in the database: what is known of it apart from its stored form, which is cut into pieces.

f <namespace> <digest>          the entry's facts: a few numbers and the stored form without its body
c <namespace> <digest> <piece>  the stored form, in pieces of `PIECE_BYTES`
"""

from struct import Struct
from typing import Final, NamedTuple

from cache.adapters.disk.faults import DatabaseDamaged
from cache.ports import DIGEST_BYTES, NAMESPACE_BYTES, Key

PIECE_BYTES: Final = 256 << 10
FACTS: Final = b"f"
"""How the names of all facts begin."""
_FACTS: Final = Struct("<QQI")
_PIECE: Final = Struct(">I")
_KEY_END: Final = 1 + NAMESPACE_BYTES + DIGEST_BYTES


class Facts(NamedTuple):
    """What is known of an entry without reading it."""

    size: int
    """Bytes of the stored form."""
    until_ms: int
    pieces: int
    packed: bytes
    """The stored form of the entry without its body."""


def facts_name(key: Key) -> bytes:
    """Return the name of an entry's facts."""
    return FACTS + key.namespace + key.digest


def key_of(name: bytes) -> Key:
    """Return the key of an entry from the name of its facts."""
    return Key(name[1 : 1 + NAMESPACE_BYTES], name[1 + NAMESPACE_BYTES : _KEY_END])


def piece_name(key: Key, number: int) -> bytes:
    """Return the name of one piece of a stored form."""
    return b"".join((b"c", key.namespace, key.digest, _PIECE.pack(number)))


def pieces_of(stored: bytes) -> int:
    """Return into how many pieces a stored form is cut."""
    return max(1, -(-len(stored) // PIECE_BYTES))


def pack_facts(facts: Facts) -> bytes:
    """Return facts as they are written."""
    return _FACTS.pack(facts.size, facts.until_ms, facts.pieces) + facts.packed


def read_facts(value: bytes) -> Facts:
    """Return what was written. Raises DatabaseDamaged."""
    if len(value) < _FACTS.size:
        raise DatabaseDamaged("the facts of an entry are cut off")
    size, until_ms, pieces = _FACTS.unpack_from(value)
    return Facts(size, until_ms, pieces, value[_FACTS.size :])
