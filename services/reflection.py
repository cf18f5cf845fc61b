"""Server reflection under both of its names, so that grpcurl and its like need no files.

v1 and v1alpha have the same messages on the wire (https://grpc.io/docs/guides/reflection/); the Python package only
brings v1alpha, so v1 is the same servicer registered under the other name.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1: Final = "grpc.reflection.v1.ServerReflection"
V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"


class Reflection:
    """The conversations about what a server offers. They last as long as the client likes, or until `end`."""

    def __init__(self, services: Sequence[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer([*services, V1, V1ALPHA])
        self._open: set[asyncio.Timeout] = set()
        self._ended = False

    async def converse(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answer each request."""
        if self._ended:
            return
        try:
            async with asyncio.timeout(None) as bound:
                self._open.add(bound)
                async for response in self._servicer.ServerReflectionInfo(requests, context):
                    yield response
        except TimeoutError:
            # The server stops: the conversation is over, which is no fault.
            return
        finally:
            self._open.discard(bound)

    def end(self) -> None:
        """End all conversations, so that a server can stop. New ones end at once."""
        self._ended = True
        now = asyncio.get_running_loop().time()
        for bound in self._open:
            bound.reschedule(now)


def add_reflection(services: Sequence[str], server: grpc.aio.Server) -> Reflection:
    """Answer for these services, named in full, and for reflection itself."""
    added = Reflection(services)
    handler = grpc.stream_stream_rpc_method_handler(
        added.converse,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    server.add_generic_rpc_handlers(
        tuple(grpc.method_handlers_generic_handler(name, methods) for name in (V1, V1ALPHA))
    )
    return added
