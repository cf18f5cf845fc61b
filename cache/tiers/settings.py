"""The settings of one tier, checked when they are made."""

from dataclasses import dataclass

from cache.eviction import PolicyName


@dataclass(frozen=True, slots=True)
class TierSettings:
    """How much a tier holds, for how long, and what goes first. Raises ValueError, which names every fault."""

    capacity_bytes: int
    """What all namespaces together may have. In Redis, keep it below the server's `maxmemory`."""
    namespace_bytes: int
    """The quota of each namespace. Where the quotas together are more than the capacity, who comes later may find no
    room; nothing is taken from another namespace for it.
    """
    entry_bytes: int
    """The largest entry that is taken."""
    ttl_ms: int
    """How long an entry is kept at most; its own freshness may end before."""
    policy: PolicyName = PolicyName.SCAN_RESISTANT
    """What goes first in a namespace that has reached its quota."""
    promote_after: int = 2
    """An entry that was found in this tier so many times within a while is copied into the tiers above; 1: at once.
    With 2, a scan over everything that is kept below moves nothing up. The first tier has nothing above it.
    """

    def __post_init__(self) -> None:
        if faults := self.faults():
            raise ValueError("; ".join(faults))

    def faults(self) -> list[str]:
        """Return what is wrong, in words that name the field, its value and what would be right."""
        found = [
            f"{name} is {value}; it must be at least 1"
            for name, value in (
                ("capacity_bytes", self.capacity_bytes),
                ("namespace_bytes", self.namespace_bytes),
                ("entry_bytes", self.entry_bytes),
                ("ttl_ms", self.ttl_ms),
                ("promote_after", self.promote_after),
            )
            if value < 1
        ]
        if self.namespace_bytes > self.capacity_bytes:
            found.append(
                f"namespace_bytes is {self.namespace_bytes}, more than the tier has: "
                f"capacity_bytes is {self.capacity_bytes}"
            )
        if self.entry_bytes > self.namespace_bytes:
            found.append(
                f"entry_bytes is {self.entry_bytes}, more than a namespace may have: "
                f"namespace_bytes is {self.namespace_bytes}"
            )
        return found


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What may wait to be written into a tier. Raises ValueError, which names every fault."""

    entries: int = 4096
    """How many entries may wait."""
    waiting_bytes: int = 64 << 20
    """How many bytes they may have together."""
    batch_entries: int = 64
    """How many are written at once."""
    batch_bytes: int = 1 << 20
    """How many bytes are written at once; a larger entry goes alone."""

    def __post_init__(self) -> None:
        if faults := self.faults():
            raise ValueError("; ".join(faults))

    def faults(self) -> list[str]:
        """Return what is wrong, in words that name the field, its value and what would be right."""
        return [
            f"{name} is {value}; it must be at least {least}"
            for name, value, least in (
                ("entries", self.entries, 2),
                ("waiting_bytes", self.waiting_bytes, 2),
                ("batch_entries", self.batch_entries, 1),
                ("batch_bytes", self.batch_bytes, 1),
            )
            if value < least
        ]
