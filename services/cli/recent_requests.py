"""Requests of tasks that came lately, for the cache to be warmed with: read from the records, which the log filled."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forebay.client import Client
    from forebay.tasks.v1.task_pb2 import TaskSpec


def recent_requests(
    opened: "Client", *, model: str, labels: dict[str, str], since: timedelta | None, limit: int
) -> Iterator["TaskSpec"]:
    """Yield what was asked by the caller's own tasks, latest first and each question once, of up to `limit` tasks."""
    from forebay.client import NotFound
    from forebay.tasks.v1.task_pb2 import TaskSpec

    begin = None if since is None else datetime.now(UTC) - since
    met: set[bytes] = set()
    for task in opened.list(model=model, labels=labels, limit=limit):
        if begin is not None and task.create_time is not None and task.create_time < begin:
            return
        try:
            spec = opened.get(task.id, include_input=True, include_result=False).spec
        except NotFound:
            # Its record was forgotten after it was listed.
            continue
        if spec is None or spec.inputs_from or spec.WhichOneof("input") is None:
            continue
        # What else a task has cannot change the answer.
        question = TaskSpec(model=spec.model, pool=spec.pool)
        for name in ("generate", "tensors", "embed"):
            if spec.HasField(name):
                getattr(question, name).CopyFrom(getattr(spec, name))
        serialised = question.SerializeToString(deterministic=True)
        if serialised not in met:
            met.add(serialised)
            question.labels.update(spec.labels)
            yield question
