"""StreamOutput: the chunks of a generation from any point on, until its end. Called by `task_service.py`."""

from collections.abc import AsyncIterator
from typing import Final

from forebay.tasks.v1 import inputs_pb2, task_pb2, task_service_pb2
from scheduler.errors import OutputGone, TaskNotFound
from scheduler.ports.records import QueryStore, Record
from scheduler.states import TaskState
from services.gateway import convert
from services.gateway.event_hub import EventHub
from services.gateway.request_validation import check_output

_CHUNKS: Final = 256


class StreamOutput:
    """The use case."""

    def __init__(self, hub: EventHub, store: QueryStore) -> None:
        self._hub = hub
        self._store = store

    async def __call__(
        self, tenant: str, request: task_service_pb2.StreamOutputRequest
    ) -> AsyncIterator[task_service_pb2.StreamOutputResponse]:
        """Yield chunks without a gap; the last one carries the task's terminal state.

        Raises InvalidInput, TaskNotFound, OutputGone when the next chunk is no longer kept, ServerUnavailable.
        """
        check_output(request)
        task_id, position = request.id, request.after_sequence
        async with self._hub.listening(task_id) as bell:
            record = await self._record(tenant, task_id)
            while True:
                self._hub.check_open()
                bell.clear()
                chunks = await self._store.output(task_id, position, _CHUNKS)
                for sequence, payload in chunks:
                    if sequence != position + 1:
                        raise OutputGone(position, sequence)
                    chunk = task_service_pb2.StreamOutputResponse.FromString(payload)
                    position = chunk.sequence = sequence
                    yield chunk
                    if chunk.state:
                        return
                if len(chunks) == _CHUNKS:
                    continue
                if not chunks:
                    # Terminal before the last look at the output: nothing can follow it.
                    if record.state.terminal:
                        if not await self._has_ended(record, position):
                            yield _end(record, position + 1)
                        return
                    record = await self._record(tenant, task_id)
                    if record.state.terminal:
                        continue
                await bell.wait()

    async def _record(self, tenant: str, task_id: str) -> Record:
        record = (await self._store.get([task_id], False))[0]
        if record is None or record.tenant != tenant:
            raise TaskNotFound(task_id)
        return record

    async def _has_ended(self, record: Record, position: int) -> bool:
        """Whether the chunk at this position was the last one already. Raises OutputGone when nobody can tell."""
        generated = record.state is TaskState.SUCCEEDED and convert.spec_of(record).HasField("generate")
        if position == 0:
            if generated:
                raise OutputGone(position, 0)
            return False
        kept = await self._store.output(record.id, position - 1, 1)
        if kept and kept[0][0] == position:
            return bool(task_service_pb2.StreamOutputResponse.FromString(kept[0][1]).state)
        if generated:
            raise OutputGone(position, 0)
        return False


def _end(record: Record, sequence: int) -> task_service_pb2.StreamOutputResponse:
    """Return the closing chunk of a task that ended without one: one that never ran, or has tensors."""
    ended = convert.update_of(record, include_result=False)
    succeeded = ended.state == task_pb2.TASK_STATE_SUCCEEDED
    chunk = task_service_pb2.StreamOutputResponse(
        sequence=sequence,
        state=ended.state,
        finish_reason=inputs_pb2.FINISH_REASON_STOP if succeeded else inputs_pb2.FINISH_REASON_ABORTED,
    )
    if ended.HasField("error"):
        chunk.error.CopyFrom(ended.error)
    return chunk
