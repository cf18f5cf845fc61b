"""Names of keys, the split of a batch by partition, and what travels packed inside a record."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from scheduler.ids import PARTITIONS, is_task_id
from scheduler.ports.records import PublishTicket, Republication

T = TypeVar("T")

PREFIXES: Final = [f"fb:{{{partition:02d}}}:" for partition in range(PARTITIONS)]
"""Prefix of every key of a partition; the braces put them in one slot of a cluster."""

EVENTS: Final = "fb:events"
"""Channel of all changes."""

CANCELLED: Final = "fb:cancelled"
"""Channel of ids that were cancelled or expired while RUNNING."""

WAKES: Final = "fb:wakes"
"""Channel of partitions in which a task ended that others depend on."""


def by_partition(items: Sequence[T], id_of: Callable[[T], str]) -> dict[int, list[int]]:
    """Return the places of a batch's items for each partition, in order."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(id_of(item)[:2], []).append(place)
    return {int(digits): found for digits, found in places.items()}


def by_known_partition(ids: Sequence[str]) -> dict[int, list[int]]:
    """Do the same for ids that a client sent; those that cannot be ids are left out."""
    places: dict[int, list[int]] = {}
    for place, task_id in enumerate(ids):
        if is_task_id(task_id):
            places.setdefault(int(task_id[:2]), []).append(place)
    return places


def index_name(tenant: str) -> str:
    """Name a tenant's listing index inside a partition."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]


def key_digest(tenant: str, key: str) -> str:
    """Return the 64 hex digits under which a tenant's idempotency key is kept."""
    return hashlib.sha256(f"{tenant}\0{key}".encode()).hexdigest()


def republications(flat: Sequence[bytes]) -> list[Republication]:
    """Read id, publication, envelope, isolation, '1' for the express lane, … as scripts return them."""
    return [
        Republication(
            flat[i].decode(), int(flat[i + 1]), flat[i + 2], flat[i + 3].decode(), flat[i + 4] == b"1"
        )
        for i in range(0, len(flat), 5)
    ]


def ticket(partition: int, member: bytes) -> list[PublishTicket]:
    """Return the ticket that a script made, or nothing if it made none."""
    return [PublishTicket(partition, member.decode())] if member else []
