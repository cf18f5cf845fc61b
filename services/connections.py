"""Settings that several services share: where the servers are, how queues are laid out, where telemetry goes.

Each class is one section: `[redis]` in the TOML file, `FOREBAY_REDIS_…` in the environment.
"""

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class TelemetrySettings:
    """Section `telemetry`."""

    otlp_endpoint: str = ""
    """OTLP/gRPC endpoint for traces, for example `http://127.0.0.1:4317`; empty exports nothing."""
    sample_ratio: float = 1.0
    """Part of the traces that are recorded, 0 to 1."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""
