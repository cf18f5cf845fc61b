"""What a model is, for the key: a digest over everything that its runners announce to change their answers."""

import hashlib
from collections.abc import Iterable
from typing import Final

_PURPOSE: Final = b"forebay model identity 1\0"


def identity_of(announced: Iterable[str]) -> bytes:
    """Return the identity of a version of a model, from what each of its READY runners announces
    (`inference.model_digest`), in any order and however often.

    Runners that announce different digests make one identity together: any of them may be the one that answers. Empty
    when there is no runner, or one that announces nothing.
    """
    digests = sorted(set(announced))
    if not digests or not digests[0]:
        return b""
    parts = [_PURPOSE]
    for digest in digests:
        encoded = digest.encode()
        parts += (len(encoded).to_bytes(8, "little"), encoded)
    return hashlib.sha256(b"".join(parts)).digest()
