"""A call over HTTP, in the shape of a gRPC context: as much of it as `caller.py` and the door over gRPC ask for."""

from typing import Final

from aiohttp import web


class HttpContext:
    """Who calls, and for how long."""

    def __init__(self, request: web.Request) -> None:
        self._metadata: Final = tuple((name.lower(), value) for name, value in request.headers.items())
        self.failure = ""
        """The name of the google.rpc.Code of what went wrong after the answer had begun; empty for nothing."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the headers, their names in lower case."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Return None: HTTP has no deadlines. How long a client waits is a parameter of an inference."""
        return None
