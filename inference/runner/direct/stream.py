"""One stream of a gateway: what it sends is read at once, what it is to hear has one writer.

A write that is on its way cannot be broken off, and no status can be sent beside it: whatever ends a stream, its calls
end at once, and the stream itself when that write is over. A frozen gateway's connection ends by its keepalive.
"""

import asyncio
import logging
from typing import Any, Final

import grpc.aio

from forebay.runner.v1.runner_service_pb2 import ExecuteRequest
from inference.runner.direct.call_table import CallTable
from inference.runner.direct.outbox import Outbox
from scheduler.errors import ForebayError, Overloaded, ShuttingDown

WRITE_DEADLINE_S: Final = 30.0
"""Longest wait for the other side to take a message; a gateway that takes none for so long is given up."""

_log = logging.getLogger(__name__)


async def hold_stream(calls: CallTable, context: Any, write_deadline_s: float = WRITE_DEADLINE_S) -> None:
    """Hold a stream until the gateway ends it; its calls end with it.

    Raises ShuttingDown when the runner goes and all is answered, Overloaded when the gateway takes no answers,
    InvalidInput when it numbers its calls wrongly.
    """
    outbox = calls.open()
    error: ForebayError | None = None
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(_write(context, outbox, write_deadline_s))
        reading = group.create_task(_read(context, calls, outbox))
        giving_up = group.create_task(outbox.given_up.wait())
        try:
            await asyncio.wait((writing, reading, giving_up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # The writer ends by this.
            calls.close(outbox)
        if giving_up.done():
            _log.warning("gateway given up: it takes no answers", extra={"peer": context.peer()})
            error = Overloaded("the gateway takes its answers too slowly", retry_after_s=1.0)
        elif reading.done():
            error = reading.result()
        elif writing.result():
            error = ShuttingDown("the runner takes no more work")
        reading.cancel()
        giving_up.cancel()
    if error is not None:
        raise error


async def _read(context: Any, calls: CallTable, outbox: Outbox) -> ForebayError | None:
    """Take what comes until the gateway has said all; return what is wrong with it."""
    try:
        while isinstance(request := await context.read(), ExecuteRequest):
            calls.received(outbox, request)
    except ForebayError as error:  # also of reading: bytes that are no message
        return error
    return None


async def _write(context: Any, outbox: Outbox, deadline_s: float) -> bool:
    """Write what the outbox collects, until all is said: the one writer that a stream may have.

    Returns whether the gateway is still there.
    """
    loop = asyncio.get_running_loop()
    while (response := await outbox.next_response()) is not None:
        late = loop.call_later(deadline_s, outbox.given_up.set)
        try:
            await context.write(response)
        except grpc.aio.InternalError:
            return False
        finally:
            late.cancel()
    return True
