"""How a service process starts, serves and ends.

The end of a server: health says NOT_SERVING, new calls are refused, calls in flight get the grace period, then they
are cancelled. The end of a process: the first SIGTERM or SIGINT asks, the second one ends it at once. A process that
is told how long it may take (FOREBAY_STOP_WITHIN_S) cuts its own end short, and leaves its stacks where it hangs.
"""

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import grpc
import grpc.aio
import uvloop
from grpc_health.v1 import health_pb2_grpc

from observability import logs
from scheduler.errors import ForebayError, StartupRefused
from services.ending import bound_end
from services.health import Health
from services.interceptor import Authorize, CallInterceptor, CallObserver
from services.methods import Methods
from services.reflection import add_reflection

_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
_KEEPALIVE_MS: Final = 30_000
PARENT_VARIABLE: Final = "FOREBAY_PARENT_PID"

CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
"""Options of every channel."""

GRPC_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    *CHANNEL_OPTIONS,
    # A server that allows fewer pings than its clients send answers them with GOAWAY.
    ("grpc.http2.min_ping_interval_without_data_ms", _KEEPALIVE_MS // 3),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", _KEEPALIVE_MS // 3),
    # Two servers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
)
"""Options of every server."""

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """One service of a server."""

    name: str
    """In full, for example `forebay.tasks.v1.TaskService`."""
    register: Callable[[grpc.aio.Server], None]
    """Adds the servicer to the server, or to what takes registrations in place of one (services/methods.py)."""


class RunningServer:
    """A server that takes calls. It starts as NOT_SERVING: say `set_serving(True)` when all is ready."""

    def __init__(self, address: str, health: Health) -> None:
        self.address: Final = address
        """host:port with the real port."""
        self._health = health

    @property
    def serving(self) -> bool:
        """What health says."""
        return self._health.serving

    def set_serving(self, serving: bool) -> None:
        """Change what health says."""
        self._health.set_serving(serving)


@asynccontextmanager
async def grpc_server(
    listen: str,
    services: Sequence[Service],
    *,
    grace_s: float,
    default_deadline_s: float = 30.0,
    end_themselves: Collection[str] = (),
    observe: CallObserver | None = None,
    authorize: Authorize | None = None,
) -> AsyncIterator[RunningServer]:
    """Serve on `host:port` (port 0: any free one), with health and reflection, until the block is left. Calls without a
    deadline get the default one, but for those of the methods that `end_themselves` (`package.Service/Method`).

    Raises StartupRefused when the address cannot be had. Cancelling while it drains cancels the calls in flight.
    """
    given: dict[str, Any] = {"observe": observe, "authorize": authorize}
    interceptor = CallInterceptor(
        default_deadline_s=default_deadline_s,
        end_themselves=end_themselves,
        **{name: one for name, one in given.items() if one is not None},
    )
    methods = Methods(interceptor.wrap)
    registry = cast(grpc.aio.Server, methods)
    health = Health(service.name for service in services)
    for service in services:
        service.register(registry)
    health_pb2_grpc.add_HealthServicer_to_server(health, registry)
    reflection = add_reflection([*(service.name for service in services), "grpc.health.v1.Health"], registry)
    server = grpc.aio.server(handlers=[methods], options=GRPC_OPTIONS)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError:
        port = 0
    if port == 0:
        raise StartupRefused(
            f"cannot listen on {listen}: the port is taken or the address is not of this machine"
        )
    await server.start()
    try:
        yield RunningServer(f"{listen.rpartition(':')[0]}:{port}", health)
    finally:
        _LOG.info("stopping grpc", extra={"grace_s": grace_s})
        health.end()
        reflection.end()
        await server.stop(grace_s)
        _LOG.info("grpc stopped")


def run_service(
    name: str, main: Callable[[asyncio.Event], Awaitable[None]], *, log_level: str = "INFO"
) -> int:
    """Run a process until `main` returns; it gets an event that says when to stop. Returns the exit code."""
    die_with_parent()
    logs.configure(name, level=log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_until_stopped(main))
        except (Exception, ExceptionGroup) as error:
            _log_end(error)
            return 1
    return 0


async def _until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        _LOG.info("asked to stop", extra={"signal": signal.Signals(number).name})
        stop.set()
        if running is not None:
            bound_end(running)

    running = asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask, number)
    try:
        await main(stop)
    except asyncio.CancelledError:
        # Nobody but `bound_end` cancels the task of the whole process.
        if not stop.is_set():
            raise
        _LOG.warning("end cut short")
    _LOG.info("stopped")


def _log_end(error: Exception) -> None:
    """Log why the process ends, once for each cause: a sentence for what is foreseen, a stack for the rest."""
    for leaf in _leaves(error):
        if isinstance(leaf, ForebayError):
            _LOG.error("process ends", extra={"reason": leaf.reason, "why": str(leaf)})
        else:
            _LOG.error("process ends", exc_info=leaf)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def die_with_parent(environ: Mapping[str, str] = os.environ) -> None:
    """Make the kernel end this process when the one named by FOREBAY_PARENT_PID ends, however it does.

    Without the variable nothing happens. When that process is gone already, this one exits with code 1.
    """
    parent = environ.get(PARENT_VARIABLE, "")
    if not parent.isdigit():
        return
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_follow, args=(int(parent),), daemon=True, name="parent").start()
    if os.getppid() != int(parent):
        os._exit(1)


def _follow(parent: int) -> None:
    """Where the kernel has no such service: look once a second."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
