"""A stream of requests: each is executed as soon as it is read, so that requests of one stream share runs of the model.

Responses come in the order of the requests, except the pieces of text of language models, which come as they are there.
At most WINDOW requests are under way; no more is read meanwhile. What goes wrong with one request is told in its
response, with its id, and the stream goes on.
"""

import asyncio
import logging
import secrets
from contextlib import aclosing
from typing import Any, Final

import grpc.aio

from forebay.compat.kserve.kserve_service_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelStreamInferResponse,
)
from scheduler.errors import ForebayError, ShuttingDown
from services.gateway.kserve.inference import Inference, Prepared
from services.status import internal, to_status

WINDOW: Final = 64
_LOG: Final = logging.getLogger(__name__)
_Turn = asyncio.Future[None]
"""Done when the response before was written."""


class InferStream:
    """One stream of one client."""

    def __init__(self, inference: Inference, context: Any, tenant: str) -> None:
        self._inference = inference
        self._context = context
        self._tenant = tenant
        self._room = asyncio.Semaphore(WINDOW)
        self._writing = asyncio.Lock()
        self._loop = asyncio.get_running_loop()

    async def run(self, ending: asyncio.Event) -> None:
        """Answer until the client has said all, or until `ending`: what is under way is still answered then.

        Raises ShuttingDown after that.
        """
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(group))
            watching = group.create_task(_cancel_at(ending, reading))
            reading.add_done_callback(lambda _: watching.cancel())
        if ending.is_set():
            raise ShuttingDown("this gateway is going away", 0.5)

    async def _read(self, group: asyncio.TaskGroup) -> None:
        last: _Turn | None = None
        while True:
            await self._room.acquire()
            request = await self._context.read()
            if request is grpc.aio.EOF:
                return
            prepared: Prepared | ModelStreamInferResponse
            if isinstance(request, ModelInferRequest):
                try:
                    prepared = self._inference.prepare(request, self._tenant, self._context.time_remaining())
                except Exception as error:  # told in its response, whatever it is
                    prepared = _failure(error, request.id)
            else:
                prepared = ModelStreamInferResponse(error_message="the request cannot be parsed")
            if isinstance(prepared, Prepared) and prepared.streams:
                group.create_task(self._answer_in_pieces(prepared))
            else:
                turn = self._loop.create_future()
                group.create_task(self._answer(prepared, last, turn))
                last = turn

    async def _answer(
        self, prepared: Prepared | ModelStreamInferResponse, last: _Turn | None, turn: _Turn
    ) -> None:
        """Answer once, when it is this request's turn."""
        try:
            if isinstance(prepared, Prepared):
                try:
                    whole = await self._inference.whole(prepared)
                    response = ModelStreamInferResponse(infer_response=whole)
                except Exception as error:  # told in its response, whatever it is
                    response = _failure(error, prepared.id)
            else:
                response = prepared
            if last is not None:
                await last
            await self._write(response)
        finally:
            if not turn.done():
                turn.set_result(None)
            self._room.release()

    async def _answer_in_pieces(self, prepared: Prepared) -> None:
        try:
            async with aclosing(self._inference.pieces(prepared)) as pieces:
                async for piece in pieces:
                    await self._write(ModelStreamInferResponse(infer_response=piece))
        except Exception as error:  # told in a response, whatever it is
            await self._write(_failure(error, prepared.id))
        finally:
            self._room.release()

    async def _write(self, response: ModelStreamInferResponse) -> None:
        async with self._writing:
            try:
                await self._context.write(response)
            except grpc.aio.BaseError:
                # The client is gone: gRPC cancels this call, and with it all that is under way.
                _LOG.debug("response not written", exc_info=True)


async def _cancel_at(ending: asyncio.Event, reading: "asyncio.Task[None]") -> None:
    await ending.wait()
    reading.cancel()


def _failure(error: Exception, request_id: str) -> ModelStreamInferResponse:
    """Return what a client is told of a request that failed; of what nobody foresaw only where it is logged."""
    if isinstance(error, ForebayError):
        message = to_status(error).message
    else:
        log_id = secrets.token_hex(8)
        _LOG.error("request of a stream failed", extra={"request_id": log_id}, exc_info=error)
        message = internal(log_id).message
    return ModelStreamInferResponse(error_message=message, infer_response=ModelInferResponse(id=request_id))
