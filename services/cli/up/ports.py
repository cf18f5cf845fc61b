"""Which ports are free, and who holds one that is not."""

import errno
import socket
from collections.abc import Sequence

import psutil

from scheduler.errors import StartupRefused


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
    """Return that many different free ports, chosen by the system."""
    held = [socket.socket(_family(host), socket.SOCK_STREAM) for _ in range(count)]
    try:
        for one in held:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def holder(port: int) -> str | None:
    """Name the process that listens on a port, as "redis-server (pid 71)"; None when the system does not tell."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.pid and _port(connection.laddr) == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    except (psutil.Error, OSError):
        return None
    return None


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
