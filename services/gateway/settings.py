"""Section `gateway`: the settings of this process alone. Those of several services are in `services/connections.py`."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.errors import StartupRefused
from services.settings import ranged


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What a gateway can be told."""

    listen: str = "127.0.0.1:7070"
    """host:port of gRPC; port 0 takes a free one."""
    http_listen: str = "127.0.0.1:7080"
    """host:port of HTTP; port 0 takes a free one."""
    tenant: str = "default"
    """The tenant of every caller, where there are no API keys."""
    api_keys_file: Path | None = None
    """File of API keys: who calls is whose key the call brings, and a call without one is refused. `forebay keys new`
    makes its lines. Read again within two seconds of a change. Default: none; everybody is `tenant`, and operates.
    """
    starter_key_sha256: str = field(default="", repr=False)
    """SHA-256, in hexadecimal, of the key of whoever started this process and watches over it, and so operates, as
    `tenant`. `forebay up` makes one for itself. Means nothing where nobody is asked for a key.
    """
    secret: str = field(default="", repr=False)
    """Keys fingerprints and page tokens. The same for all gateways of a system; may be empty on loopback only."""
    max_calls_in_flight: int = ranged(256, minimum=1)
    """Submit calls that are accepted at once; more are refused with a retry hint."""
    max_bytes_in_flight: int = ranged(256 * 1024 * 1024, minimum=1024)
    """Bytes of tasks that are accepted at once."""
    max_direct_calls: int = ranged(4096, minimum=1)
    """Calls of clients that wait on the line that are under way at once; lower levels may fill a part of that only."""
    max_direct_bytes: int = ranged(256 * 1024 * 1024, minimum=1024)
    """Bytes of such calls that are under way at once."""
    direct_timeout_s: float = ranged(60.0, minimum=0.1)
    """How long such a call may take whose client does not say, in seconds."""
    zone: str = ""
    """Where it is, for models whose calls stay near. Default: nowhere in particular."""
    default_deadline_s: float = ranged(30.0, minimum=0.1)
    """Deadline of other calls that bring none, in seconds. Loading and unloading have ten minutes."""
    grace_s: float = ranged(10.0, minimum=0.0)
    """How long calls in flight may go on after a request to stop, in seconds."""

    @property
    def open_to_strangers(self) -> bool:
        """Whether whoever reaches this machine may do everything."""
        addresses = self.listen, self.http_listen
        return self.api_keys_file is None and not all(
            _is_loopback(address.rpartition(":")[0]) for address in addresses
        )

    def check(self) -> None:
        """Raise StartupRefused when the gateway can be reached from elsewhere and has no secret."""
        if not self.secret and not _is_loopback(self.listen.rpartition(":")[0]):
            raise StartupRefused(
                f"the gateway listens on {self.listen}, which is not this machine alone, and has no secret; "
                "set FOREBAY_GATEWAY_SECRET to a random text, the same for all gateways of a system"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
