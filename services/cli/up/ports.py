"""Which ports are free, and who holds one that is not."""

import errno
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from scheduler.errors import StartupRefused

LOWEST: Final = 10_000
"""Below it are the ports that people know by heart."""
ATTEMPTS: Final = 100


def refuse_taken(host: str, wanted: Sequence[tuple[int, str]]) -> None:
    """Check that each (port, flag that chooses it) can be bound.

    Raises StartupRefused with one sentence that names the port, its holder where the system tells, and the flag.
    """
    for port, flag in wanted:
        fault = _bind_fault(host, port)
        if fault is None:
            continue
        if fault == errno.EADDRINUSE:
            raise StartupRefused(
                f"port {port} is taken{_by(port)}; stop that, or choose another port with {flag}"
            )
        raise StartupRefused(
            f"port {port} on {host} cannot be used ({errno.errorcode.get(fault, fault)}); choose another with {flag}"
        )


def is_free(host: str, port: int) -> bool:
    """Tell whether a port can be bound now."""
    return _bind_fault(host, port) is None


def pick(host: str, count: int) -> list[int]:
    """Return that many different free ports on which servers can be started later, and started again.

    They lie outside the range from which the system chooses ports for connections: a port of that range, free now, may
    be the near end of somebody's connection by the time its server starts, or while it is away for a moment. Where that
    range leaves no room, the system chooses.
    """
    low, high = _for_connections()
    room = [*range(LOWEST, low), *range(high + 1, 65_536)]
    chosen: set[int] = set()
    for _ in range(ATTEMPTS * count if room else 0):
        if len(chosen) == count:
            break
        port = secrets.choice(room)
        if is_free(host, port):
            chosen.add(port)
    while len(chosen) < count:
        with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            chosen.add(probe.getsockname()[1])
    return list(chosen)


def holder(port: int) -> str | None:
    """Name the process that listens on a port, as "redis-server (pid 71)"; None when the system does not tell."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and _port(connection.laddr) == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return None
    return None


def _for_connections() -> tuple[int, int]:
    """The first and the last port that the system gives to connections: of Linux, or the dynamic ports of RFC 6335."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 49_152, 65_535


def _port(address: tuple[()] | tuple[str, int]) -> int | None:
    return address[1] if address else None


def _by(port: int) -> str:
    name = holder(port)
    return f" by {name}" if name else " by another process"


def _bind_fault(host: str, port: int) -> int | None:
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        # As servers do: a port whose last connections are fading away is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno
    return None


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
