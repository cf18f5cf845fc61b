"""The methods that a server answers, in one table.

Generated code registers every method twice: in a handler that is asked for each call, and with the server itself. An
asyncio server of gRPC serves both alike, but what it does for a method that is registered with it, it does for all of
them at each call: with the some forty methods of a gateway that is a seventh of what a call costs (measured with
grpcio 1.85, whose server resolves the names of its registered methods anew each time it asks for the next call). So
what is registered comes here, and the server gets this one handler.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc

Wrap = Callable[[str, Any], Any]
"""From a full method without the leading slash and its handler to the handler that is to be called."""


class Methods(grpc.GenericRpcHandler):
    """Takes registrations in place of a server, and finds the handler of each call."""

    def __init__(self, wrap: Wrap) -> None:
        """Each handler is wrapped once."""
        self._wrap = wrap
        self._registered: dict[str, Any] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._wrapped: dict[str, Any] = {}

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """Take the handlers of a service by the names of its methods; what is said of a method last holds."""
        for name, handler in method_handlers.items():
            method = f"/{service_name}/{name}"
            self._registered[method] = handler
            self._wrapped.pop(method, None)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Take handlers that are asked, in order, for methods that nobody registered by name."""
        self._generic += generic_rpc_handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a call, or None for a method that does not exist."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None and (handler := self._find(handler_call_details)) is not None:
            wrapped = self._wrapped[method] = self._wrap(method.lstrip("/"), handler)
        return wrapped

    def _find(self, details: grpc.HandlerCallDetails) -> Any:
        registered = self._registered.get(details.method)
        if registered is not None:
            return registered
        asked = (generic.service(details) for generic in self._generic)
        return next((handler for handler in asked if handler is not None), None)
