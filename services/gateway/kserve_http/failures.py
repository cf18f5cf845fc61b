"""What a client is told of what went wrong: `{"error": "..."}` under the code of `services/status.py`."""

import logging
import math
import secrets
from typing import Final, NamedTuple

import msgspec
from aiohttp import web
from google.rpc import code_pb2, error_details_pb2

from scheduler.errors import ForebayError, Unauthenticated
from services import status as table
from services.gateway.kserve_http.refusals import Refusal

_LOG: Final = logging.getLogger(__name__)
_LONGEST: Final = 8192
"""Characters of a message: some quote what the client sent."""


class Failure(NamedTuple):
    """An answer that is no success."""

    code: int
    """HTTP status."""
    name: str
    """Of a google.rpc.Code, for metrics."""
    message: str
    headers: dict[str, str]

    def body(self) -> bytes:
        """Return it as JSON."""
        return error_body(self.message)

    def response(self) -> web.Response:
        """Return it as a response of its own."""
        return web.Response(
            body=self.body(), status=self.code, content_type="application/json", headers=self.headers
        )


def failure_of(error: Exception, call: str) -> Failure:
    """Return what is told of an error. One that is not foreseen is logged under an id, and only that id is told."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Refusal):
        return Failure(error.code, error.name, error.what, {})
    if isinstance(error, ForebayError):
        name = code_pb2.Code.Name(table.grpc_code(error))
        return Failure(table.http_code(error), name, str(error), _headers(error))
    request_id = secrets.token_hex(8)
    _LOG.error("call failed", extra={"request_id": request_id, "rpc_method": call}, exc_info=error)
    return Failure(500, "INTERNAL", table.internal(request_id).message, {})


def error_body(message: str) -> bytes:
    """Return an error as the protocol has it. What is not Unicode in it is replaced."""
    text = message[:_LONGEST].encode(errors="replace").decode()
    return msgspec.json.encode({"error": text})


def _headers(error: ForebayError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": "Bearer"}
    retry = error_details_pb2.RetryInfo()
    for detail in table.to_status(error).details:
        if detail.Unpack(retry):
            # Whole seconds are all that the header can have.
            return {"Retry-After": str(max(1, math.ceil(retry.retry_delay.ToNanoseconds() / 1e9)))}
    return {}
