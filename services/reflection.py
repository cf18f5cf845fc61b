"""Server reflection under both of its names, so that grpcurl and its like need no files.

v1 and v1alpha have the same messages on the wire (https://grpc.io/docs/guides/reflection/); the Python package only
brings v1alpha, so v1 is the same servicer registered under the other name.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

V1: Final = "grpc.reflection.v1.ServerReflection"
V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"


def add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Answer for these services, named in full, and for reflection itself."""
    servicer = reflection.aio.ReflectionServicer([*services, V1, V1ALPHA])
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)

    async def info(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for response in servicer.ServerReflectionInfo(requests, context):
            yield response

    handler = grpc.stream_stream_rpc_method_handler(
        info,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": handler}),)
    )
