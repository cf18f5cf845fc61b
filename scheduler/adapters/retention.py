"""How long a record store keeps what has ended, and how much of a stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Retention:
    """Limits that every adapter of the record store keeps to."""

    retention_s: int = 86_400
    """Seconds for which a record, its result and its token stream outlive the task's end. Default one day."""
    key_s: int = 86_400
    """Seconds for which an idempotency key is remembered. Default one day."""
    stream_chunks: int = 65_536
    """Most chunks kept of one token stream, approximately; older ones go. Default 65,536."""
    dead_letter_s: int = 7 * 86_400
    """Seconds for which a dead letter is kept. Default one week."""
    tenants: Mapping[str, int] = field(default_factory=dict)
    """Seconds that replace `retention_s` for some tenants."""

    def record_s(self, tenant: str) -> int:
        """Return the seconds for which a tenant's records outlive their tasks."""
        return self.tenants.get(tenant, self.retention_s)


DEFAULT_RETENTION = Retention()
"""The defaults, shared: the class is immutable."""
