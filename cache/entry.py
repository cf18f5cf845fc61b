"""The stored form of an entry: what Redis and the disk keep, checked on every read.

    header   magic, version, flags, lengths, times and cost; fixed size, little-endian
    digest   SHA-256 over the key, the header and everything behind the digest
    rest     model (UTF-8), identity, labels, body

The digest covers the key, which is not stored: an entry that lies under another key is as damaged as one with a changed
byte. It is no signature: who can write to a tier can write entries.

A body above `COMPRESS_ABOVE_BYTES` is a Zstandard frame (RFC 8878) where that is shorter. It is decompressed only when
the header's length, the frame's own length and `MAX_BODY_BYTES` agree, so nothing else is ever allocated.
"""

import hashlib
import struct
from typing import Final

import zstandard

from cache.ports import LABEL_BYTES, Entry, Key

COMPRESS_ABOVE_BYTES: Final = 1024
"""Bodies of at most this length are stored as they are: what a frame saves of them is lost in its header."""
MAX_BODY_BYTES: Final = 64 << 20
"""The largest result has 63 MiB; the rest is for the usage and the lengths of its parts."""
_MAGIC: Final = b"\x89FBE"
_VERSION: Final = 1
_COMPRESSED: Final = 1
_STREAM: Final = 2
_HEADER: Final = struct.Struct("<4sBBHHHqqdQQ")
_DIGEST_BYTES: Final = 32
_REST_AT: Final = _HEADER.size + _DIGEST_BYTES
_LEVEL: Final = 1
"""Of Zstandard. Entries are written for every answer and read for some: higher levels take longer than they save."""
_WORTH: Final = 0.9
"""Compressed bodies that are longer than this part of the original are not worth the time to read them."""


class Damaged(Exception):
    """What is stored is not the entry of this key: changed, cut off, of another key, or of an unknown version."""


class TooLarge(Exception):
    """A body is longer than `MAX_BODY_BYTES`, or what goes with it does not fit into a header."""


def pack(key: Key, entry: Entry, compress_above_bytes: int = COMPRESS_ABOVE_BYTES) -> bytes:
    """Return the stored form of an entry under its key. Raises TooLarge."""
    body = entry.body
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"the body has {len(body)} bytes; {MAX_BODY_BYTES} is the limit")
    flags = _STREAM if entry.stream else 0
    if len(body) > compress_above_bytes:
        frame = zstandard.ZstdCompressor(level=_LEVEL).compress(body)
        if len(frame) <= _WORTH * len(body):
            flags |= _COMPRESSED
            body = frame
    model = entry.model.encode()
    try:
        header = _HEADER.pack(
            _MAGIC,
            _VERSION,
            flags,
            len(entry.labels),
            len(model),
            len(entry.identity),
            entry.created_ms,
            entry.fresh_until_ms,
            entry.cost_ms,
            len(entry.body),
            len(body),
        )
    except struct.error as error:
        raise TooLarge(f"the entry does not fit into its header: {error}")
    rest = b"".join((model, entry.identity, *entry.labels, body))
    return b"".join((header, _digest(key, header, rest), rest))


def unpack(key: Key, stored: bytes) -> Entry:
    """Return the entry of a key from its stored form. Raises Damaged; nothing else, whatever the bytes."""
    if len(stored) < _REST_AT:
        raise Damaged("the entry is shorter than a header")
    magic, version, flags, labels, model, identity, created_ms, fresh_until_ms, cost_ms, size, kept = (
        _HEADER.unpack_from(stored)
    )
    if magic != _MAGIC or version != _VERSION or flags & ~(_COMPRESSED | _STREAM):
        raise Damaged("the entry is of no version that is known here")
    identity_at = _REST_AT + model
    labels_at = identity_at + identity
    body_at = labels_at + labels * LABEL_BYTES
    if body_at + kept != len(stored):
        raise Damaged(f"the entry has {len(stored)} bytes; its header says {body_at + kept}")
    view = memoryview(stored)
    if _digest(key, view[: _HEADER.size], view[_REST_AT:]) != view[_HEADER.size : _REST_AT]:
        raise Damaged("the entry does not have the digest that its key and header ask for")
    body = stored[body_at:]
    if flags & _COMPRESSED:
        body = _decompressed(body, size)
    elif kept != size:
        raise Damaged(f"the body has {kept} bytes; its header says {size}")
    try:
        name = str(view[_REST_AT:identity_at], "utf-8")
    except UnicodeDecodeError:
        raise Damaged("the name of the model is no text")
    return Entry(
        body=body,
        model=name,
        identity=stored[identity_at:labels_at],
        labels=tuple(stored[at : at + LABEL_BYTES] for at in range(labels_at, body_at, LABEL_BYTES)),
        created_ms=created_ms,
        fresh_until_ms=fresh_until_ms,
        cost_ms=cost_ms,
        stream=bool(flags & _STREAM),
    )


def unpacked_bytes(stored: bytes) -> int:
    """Return about how many bytes `unpack` goes through: those that are stored, or those of the body as the header
    says, whichever is more.
    """
    if len(stored) < _HEADER.size:
        return len(stored)
    size: int = _HEADER.unpack_from(stored)[9]
    return max(size, len(stored))


def _digest(key: Key, header: bytes | memoryview, rest: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(b"".join((*key, header)))
    digest.update(rest)
    return digest.digest()


def _decompressed(frame: bytes, size: int) -> bytes:
    """Return the content of a frame, which must be of a size that both sides say. Raises Damaged."""
    try:
        # The decompressor allocates what the frame says, whatever limit it is given: so that is looked at first.
        if size > MAX_BODY_BYTES or zstandard.frame_content_size(frame) != size:
            raise Damaged(f"the frame is not one of {size} bytes")
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(f"the frame cannot be read: {error}")
