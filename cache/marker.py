"""What a purge marker matches as bytes, wherever markers are kept: in Redis, and beside the entries on disk."""

from cache.ports import DIGEST_BYTES, LABEL_BYTES, NAMESPACE_BYTES, Purge


def pack_marker(purge: Purge) -> bytes:
    """Write what a marker matches: a byte that says which parts it has, the parts of fixed length, and the model's
    name.
    """
    namespace, model, label, digest = purge.namespace, purge.model, purge.label, purge.digest
    flags = sum(
        1 << place for place, part in enumerate((namespace, model, label, digest)) if part is not None
    )
    return b"".join((bytes([flags]), namespace or b"", label or b"", digest or b"", (model or "").encode()))


def unpack_marker(packed: bytes, before_ms: int) -> Purge:
    """Read what `pack_marker` wrote."""
    flags, rest = packed[0], packed[1:]
    parts: list[bytes | None] = []
    for flag, length in ((1, NAMESPACE_BYTES), (4, LABEL_BYTES), (8, DIGEST_BYTES)):
        parts.append(rest[:length] if flags & flag else None)
        rest = rest[length:] if flags & flag else rest
    namespace, label, digest = parts
    return Purge(before_ms, namespace, rest.decode() if flags & 2 else None, label, digest)
