"""What ends of calls mean: for the runner that they came from, and in words, metrics and spans. Used by `calls.py`."""

import time
from typing import Final

from google.rpc import code_pb2

from observability import names, tracing
from scheduler.errors import ForebayError, ModelNotReady
from services.gateway.direct.connection import Connection
from services.gateway.direct.pending import Pending
from services.gateway.direct.wanted import KnownModel
from services.status import grpc_code

ELSEWHERE: Final = frozenset(
    {code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED, code_pb2.INTERNAL, code_pb2.UNKNOWN, code_pb2.ABORTED}
)
"""Codes with which another runner may do better."""
FAULTS: Final = ELSEWHERE - {code_pb2.RESOURCE_EXHAUSTED}
"""Codes that count against a runner."""


def not_ready(known: KnownModel) -> ModelNotReady:
    """Say why a model cannot be called now."""
    named = f"{known.name}@{known.version}" if known.version else known.name
    if known.model.failures:
        return ModelNotReady(f"{named} could not be loaded: {known.model.failures[0]}")
    return ModelNotReady(f"{named} is not ready yet")


def code_name(error: ForebayError) -> str:
    """Return the name of the google.rpc.Code of an error."""
    name: str = code_pb2.Code.Name(grpc_code(error))
    return name


def trace_hop(pending: Pending, connection: Connection | None, code: str, seconds: float) -> None:
    """Record the hop to the runner as a span that is over."""
    end_ns = time.time_ns()
    tracing.emit(
        "forebay.runner.v1.RunnerService/Execute",
        kind=tracing.Kind.CLIENT,
        parent=pending.wanted.traceparent,
        start_ns=end_ns - int(seconds * 1e9),
        end_ns=end_ns,
        attributes={
            names.MODEL_NAME: pending.group.model,
            names.RUNNER_ID: connection.id if connection is not None else "",
            names.RPC_RESPONSE_STATUS_CODE: code,
        },
        failed="" if code == "OK" else code,
    )
