"""What tiers keep, and what it is found by. Times are milliseconds since 1970."""

from dataclasses import dataclass
from typing import Final, NamedTuple

NAMESPACE_BYTES: Final = 16
"""The length of a namespace's tag: the beginning of a keyed digest of its name."""
DIGEST_BYTES: Final = 32
"""The length of the keyed digest of a question."""
LABEL_BYTES: Final = 8
"""The length of the tag of a label, which is of its name and value together."""


class Key(NamedTuple):
    """What an entry is found by. Only digests: no name that a user chose is part of it."""

    namespace: bytes
    """The tag of the namespace, `NAMESPACE_BYTES` long."""
    digest: bytes
    """The keyed digest of the question, `DIGEST_BYTES` long."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored answer and what is known about it."""

    body: bytes
    """The stored value; tiers do not look into it."""
    model: str
    """The name of the model that answered."""
    identity: bytes
    """The digest of everything about the model that can change an answer."""
    labels: tuple[bytes, ...]
    """The tags of the task's labels, `LABEL_BYTES` each, by which entries are purged."""
    created_ms: int
    """When the computation of the answer began, so that a purge in the meantime still reaches it."""
    fresh_until_ms: int
    """When it stops being an answer. A tier may drop it before, and never gives it after."""
    cost_ms: float
    """How long it took to compute."""
    stream: bool
    """Whether the body holds the chunks of a stream."""

    @property
    def size(self) -> int:
        """Bytes that the entry counts for: its parts and an allowance for what holds them together."""
        return (
            len(self.body)
            + len(self.model)
            + len(self.identity)
            + LABEL_BYTES * len(self.labels)
            + _ENTRY_OVERHEAD_BYTES
        )


_ENTRY_OVERHEAD_BYTES: Final = 160
"""What times, flags and lengths of an entry and its key take, at least."""
