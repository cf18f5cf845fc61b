"""How a prompt begins, as chained hashes of its blocks, for the routing that follows prefixes."""

from typing import Final
from zlib import crc32

BLOCK: Final = 256
"""Characters of one block, some 64 tokens: what runners keep blocks of."""
MOST_BLOCKS: Final = 64


def chained_hashes(tenant: str, model: str, text: str) -> tuple[int, ...]:
    """Return a hash for each beginning of a prompt that is a whole number of blocks, the shortest first.

    Tenants never share a beginning. Empty for what is shorter than a block.
    """
    hashes: list[int] = []
    chain = crc32(f"{tenant}\0{model}".encode())
    for start in range(0, min(len(text), BLOCK * MOST_BLOCKS) - BLOCK + 1, BLOCK):
        chain = crc32(text[start : start + BLOCK].encode(), chain)
        hashes.append(chain)
    return tuple(hashes)
