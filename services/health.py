"""The standard health service (grpc.health.v1): Check and Watch, with an end that lets Watch calls go."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # its package has no types
    """One state for the whole process, told under "" and under each service's name."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(("", *services))
        self._serving = False
        self._ended = False
        self._changed = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether the process says that it takes calls."""
        return self._serving

    def set_serving(self, serving: bool) -> None:
        """Change the state and tell those who watch. After `end` it stays NOT_SERVING."""
        self._serving = serving and not self._ended
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def end(self) -> None:
        """Say NOT_SERVING for good; Watch calls are told so and then end."""
        self._ended = True
        self.set_serving(False)

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer with the state. NOT_FOUND for a service that is not here."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Answer with the state and with each change of it."""
        last = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            if self._ended:
                return
            await changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._services:
            return _UNKNOWN
        return _SERVING if self._serving else _NOT_SERVING
