"""The keys of the cache in Redis: made of digests only, so nothing that a user chose can be part of one.

    fb:c:namespaces                 the set of namespaces' tags
    fb:c:{<namespace, hex>}:i       the index of a namespace: digest -> numbers and facts, `b` -> bytes
    fb:c:{<namespace, hex>}:e:<…>   an entry in its stored form, by its digest (32 bytes as they are)

All keys of a namespace have its tag in braces, and so lie on one node of a cluster.
"""

from typing import Final

NAMESPACES: Final = "fb:c:namespaces"


def prefix(namespace: bytes) -> str:
    """Return how all keys of a namespace begin."""
    return f"fb:c:{{{namespace.hex()}}}:"
