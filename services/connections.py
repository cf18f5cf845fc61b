"""Settings that several services share: where the servers are, how queues are laid out, where telemetry goes.

Each class is one section: `[redis]` in the TOML file, `FOREBAY_REDIS_…` in the environment.
"""

from dataclasses import dataclass

from scheduler.adapters.retention import Retention
from scheduler.errors import StartupRefused
from scheduler.states import Level


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Section `redis`: the record store."""

    url: str = "redis://127.0.0.1:6379/0"
    """`redis://host:port/db`, `rediss://…` or `unix:///path/to.sock`."""
    timeout_s: float = 5.0
    """Longest wait for one answer, in seconds."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Section `broker`: the message log."""

    url: str = "pulsar://127.0.0.1:6650"
    """`pulsar://host:port`."""
    admin_url: str = ""
    """`http://host:port` of the admin API, with which partitioned topics are made; empty for none (embedded)."""
    namespace: str = "public/default"
    """Pulsar tenant and namespace of all topics."""
    subscription: str = "failover"
    """`failover`, or `shared` for the embedded broker, which has one scheduler only."""
    send_timeout_s: float = 10.0
    """Longest wait for the acknowledgement of one message, in seconds."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Section `queues`: how tasks are laid out on the log. The same everywhere, fixed once tasks exist."""

    pools: tuple[str, ...] = ("default",)
    """Pools of runners."""
    lanes: int = 8
    """Partitions of each queue's topic."""
    weights: tuple[str, ...] = ("critical=64", "high=16", "normal=4", "low=1")
    """Share of each level when all are busy, as `level=weight`."""

    def every(self) -> list[tuple[str, Level]]:
        """Return every queue there is: its pool and its level."""
        return [(pool, level) for pool in self.pools for level in Level]


@dataclass(frozen=True, slots=True)
class RetentionSettings:
    """Section `retention`: how long what has ended is kept. The same everywhere."""

    record_s: int = 86_400
    """Seconds for which a record, its result and its token stream outlive the task's end."""
    key_s: int = 86_400
    """Seconds for which an idempotency key is remembered."""
    dead_letter_s: int = 7 * 86_400
    """Seconds for which a dead letter is kept."""
    stream_chunks: int = 65_536
    """Most chunks kept of one token stream, approximately."""
    tenants: tuple[str, ...] = ()
    """`tenant=seconds` where a tenant's records are kept for another time than `record_s`."""

    def limits(self) -> Retention:
        """Return what the adapters of the record store take. Raises StartupRefused for what cannot be meant."""
        least = min(self.record_s, self.key_s, self.dead_letter_s, self.stream_chunks)
        if least < 1:
            raise StartupRefused("settings of section retention must be 1 or more")
        tenants: dict[str, int] = {}
        for pair in self.tenants:
            tenant, _, seconds = pair.rpartition("=")
            if not tenant or not seconds.isdecimal() or int(seconds) < 1:
                raise StartupRefused(f"setting retention.tenants: {pair!r} is not tenant=seconds")
            tenants[tenant] = int(seconds)
        return Retention(self.record_s, self.key_s, self.stream_chunks, self.dead_letter_s, tenants)


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Section `telemetry`."""

    otlp_endpoint: str = ""
    """OTLP/gRPC endpoint for traces, for example `http://127.0.0.1:4317`; empty exports nothing."""
    sample_ratio: float = 1.0
    """Part of the traces that are recorded, 0 to 1."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
