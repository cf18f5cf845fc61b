"""What one message of the log may hold, and how its reader knows that it is whole. Whoever publishes keeps to it: the
gateway, and the scheduler's republisher.
"""

from collections.abc import Mapping
from enum import IntEnum
from hashlib import sha256
from typing import Final

from scheduler.lanes import Lane

MAX_BUNDLE_TASKS: Final = 256
MAX_BUNDLE_BYTES: Final = 256 * 1024
"""A single task that is larger travels alone."""

BUNDLE_PROPERTIES: Final[Mapping[str, str]] = {"forebay-bundle": "1"}
"""Properties of every message, beside its trace context and checksum: the version of the format."""

CHECKSUM_PROPERTY: Final = "forebay-sha256"
"""Message property with the SHA-256 of the queue's name and the payload, in hexadecimal."""


class Checked(IntEnum):
    """What the checksum says of a message."""

    WHOLE = 1
    """It is what a publisher of ours wrote, for this queue."""
    DAMAGED = 2
    """It is not what was written, or was written for another queue."""
    UNKNOWN = 3
    """It carries no checksum."""


def bundle_properties(lane: Lane, payload: bytes) -> dict[str, str]:
    """Return the properties of the message that carries a serialised Bundle to a lane; the trace context is added by
    the caller.

    The checksum covers the queue too, so that a message that was copied to another one is not taken for its own.
    Takes about 0.7 us per KiB.
    """
    return {**BUNDLE_PROPERTIES, CHECKSUM_PROPERTY: _digest(lane, payload)}


def check_bundle(lane: Lane, payload: bytes, properties: Mapping[str, str]) -> Checked:
    """Tell whether a message is the one that was put on this lane's queue."""
    written = properties.get(CHECKSUM_PROPERTY)
    if written is None:
        return Checked.UNKNOWN
    return Checked.WHOLE if written == _digest(lane, payload) else Checked.DAMAGED


def is_ours(properties: Mapping[str, str]) -> bool:
    """Whether a publisher of ours wrote a message, readable or not: tasks of ours may be missing from the log when it
    is not.
    """
    return any(name in properties for name in (*BUNDLE_PROPERTIES, CHECKSUM_PROPERTY))


def _digest(lane: Lane, payload: bytes) -> str:
    digest = sha256(f"{lane.pool}.{lane.level.label}\n".encode())
    digest.update(payload)
    return digest.hexdigest()
