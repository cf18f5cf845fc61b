"""Settings of the scheduler process, section `scheduler`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerSettings:
    """How one scheduler works. Where its servers are is in services/connections.py."""

    listen: str = "127.0.0.1:0"
    """host:port of its gRPC server; port 0 takes a free one. Runners find it through membership."""
    advertise: str = ""
    """host:port that runners shall dial; empty for the address that it listens on."""
    metrics_listen: str = "127.0.0.1:0"
    """host:port of its Prometheus page; empty for none."""
    window_per_lane: int = 1024
    """Waiting tasks of one lane kept in memory before the lane is left to fill."""
    assign_batch: int = 512
    """Most tasks leased in one round trip."""
    lease_ms: int = 10_000
    """How long a lease stands without renewal, in milliseconds. Runners renew after a third of it."""
    recheck_s: float = 1.0
    """How long a message whose task runs elsewhere rests before its record is looked at again, in seconds."""
    sweep_s: float = 0.5
    """Longest time between two sweeps for what is due and what deaths interrupted, in seconds."""
    republish_after_ms: int = 5_000
    """Age from which a publication without acknowledgement is made again, in milliseconds."""
    zone: str = ""
    """Where it is, for example a rack or a region; the routing `zone_first` prefers runners that say the same."""
    grace_s: float = 10.0
    """How long running work may take to end after SIGTERM, in seconds."""
