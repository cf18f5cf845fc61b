"""Submitting tasks, many in one call, so that a second try can never make a second task.

Every task that has no idempotency key gets one made up here. A key is a random word for the call and the task's
number in it, `auto-<22 characters>/<number>`; the server may tell by the form that such keys belong together.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Final

from forebay.client import methods
from forebay.client.calls import Calls
from forebay.client.errors import ForebayClientError, InternalError, from_status, to_status
from forebay.client.retry import transient
from forebay.tasks.v1.task_pb2 import TaskSpec
from forebay.tasks.v1.task_service_pb2 import SubmitResult, SubmitTasksRequest

MOST_TASKS: Final = 1000
"""Tasks in one call."""
MOST_BYTES: Final = 16 << 20
"""Bytes in one call, well under what a server takes."""
CALLS_AT_ONCE: Final = 4


async def submit(
    calls: Calls, specs: Sequence[TaskSpec], timeout_s: float, *, idempotent: bool = True
) -> list[SubmitResult]:
    """Submit tasks; answers in order, errors of one task inside them.

    The specs are not changed. A call that fails as a whole raises when it was the only one; of several, its error
    becomes the answer for each of its tasks, because others were accepted. `idempotent=False` saves the server
    the keys, and submits once, come what may. Raises ValueError when tasks that name each other by place do not fit
    into one call.
    """
    batches = list(_batches(specs))
    if len(batches) > 1 and _by_index(specs):
        raise ValueError(
            f"tasks that name others by their place must go in one call: at most {MOST_TASKS} tasks "
            f"and {MOST_BYTES} bytes; use the ids of tasks submitted before"
        )
    if len(batches) == 1:
        return await _submit_batch(calls, batches[0], timeout_s, idempotent)
    answers = await calls.transport.gather(
        [_submit_or_tell(calls, batch, timeout_s, idempotent) for batch in batches], CALLS_AT_ONCE
    )
    return [result for batch in answers for result in batch]


def _batches(specs: Sequence[TaskSpec]) -> Iterator[Sequence[TaskSpec]]:
    start = size = 0
    for at, spec in enumerate(specs):
        grows = spec.ByteSize()
        if at > start and (at - start >= MOST_TASKS or size + grows > MOST_BYTES):
            yield specs[start:at]
            start, size = at, 0
        size += grows
    yield specs[start:]


async def _submit_or_tell(
    calls: Calls, specs: Sequence[TaskSpec], timeout_s: float, idempotent: bool
) -> list[SubmitResult]:
    try:
        return await _submit_batch(calls, specs, timeout_s, idempotent)
    except ForebayClientError as error:
        return [SubmitResult(error=to_status(error)) for _ in specs]


async def _submit_batch(
    calls: Calls, specs: Sequence[TaskSpec], timeout_s: float, idempotent: bool
) -> list[SubmitResult]:
    deadline = time.monotonic() + timeout_s
    # The request holds copies: naming them leaves the caller's specs as they are.
    request = SubmitTasksRequest(tasks=specs)
    if idempotent:
        _name(request)
    safe = all(task.idempotency_key for task in request.tasks)
    whole = _by_index(request.tasks)
    results = await _call(calls, request, deadline, safe)
    # Tasks that met a fault of the servers are tried again without the others, unless they name each other by place.
    tried = 1
    while safe and (again := [at for at, result in enumerate(results) if _transient(result)]):
        pause = calls.retry.pause_s(tried, from_status(results[again[0]].error))
        if pause is None or time.monotonic() + pause >= deadline:
            break
        await calls.transport.sleep(pause)
        again = list(range(len(results))) if whole else again
        part = SubmitTasksRequest(tasks=[request.tasks[at] for at in again])
        for at, result in zip(again, await _call(calls, part, deadline, safe), strict=True):
            results[at] = result
        tried += 1
    return results


async def _call(calls: Calls, request: SubmitTasksRequest, deadline: float, safe: bool) -> list[SubmitResult]:
    answer = await calls.unary(methods.SUBMIT, request, deadline - time.monotonic(), safe=safe)
    if len(answer.results) != len(request.tasks):
        raise InternalError("the server did not answer for every submitted task")
    return list(answer.results)


def _by_index(specs: Sequence[TaskSpec]) -> bool:
    return any(parent.HasField("index") for spec in specs for parent in spec.depends_on)


def _name(request: SubmitTasksRequest) -> None:
    word = f"auto-{secrets.token_urlsafe(16)}/"
    for number, task in enumerate(request.tasks):
        if not task.idempotency_key:
            task.idempotency_key = f"{word}{number}"


def _transient(result: SubmitResult) -> bool:
    return result.WhichOneof("result") == "error" and transient(from_status(result.error))
