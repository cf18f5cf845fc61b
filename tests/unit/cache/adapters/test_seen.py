"""What is last seen of a server's namespaces."""

from cache.adapters.redis.seen import Seen
from cache.ports import PartitionStats
from tests.conformance.cache_tiers import tier_settings


def test_bytes_of_a_namespace_without_entries_are_not_held() -> None:
    seen = Seen(tier_settings())
    room = seen.room_bytes(b"another")
    for _ in range(2):
        seen.note(b"one", PartitionStats(0, 500))
        assert (seen.entries, seen.held_bytes, seen.room_bytes(b"another")) == (0, 0, room)
    seen.note(b"one", PartitionStats(1, 700))
    seen.note(b"one", PartitionStats(0, 500))
    assert (seen.namespaces, seen.held_bytes) == ({}, 0)
