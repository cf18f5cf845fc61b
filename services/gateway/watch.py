"""WatchTasks: the present state of tasks, then each change, in batches. Called by `task_service.py`."""

from collections.abc import AsyncIterator

from forebay.tasks.v1 import task_service_pb2
from services.gateway.event_hub import EventHub
from services.gateway.request_validation import check_watch
from services.gateway.watcher import Watcher


class Watch:
    """The use case."""

    def __init__(self, hub: EventHub) -> None:
        self._hub = hub

    async def __call__(
        self, tenant: str, request: task_service_pb2.WatchTasksRequest
    ) -> AsyncIterator[task_service_pb2.WatchTasksResponse]:
        """Yield updates; ends when every named task has ended.

        A watch that names no tasks begins with an empty batch: from then on nothing is missed. Raises InvalidInput,
        TaskNotFound, ServerUnavailable (also when changes may have been lost), Overloaded when it is not read.
        """
        check_watch(request)
        named = request.WhichOneof("target") == "tasks"
        watcher = Watcher(
            tenant,
            ids=request.tasks.ids if named else None,
            labels=request.selector.labels,
            include_result=request.include_result,
        )
        async with self._hub.watching(watcher):
            if not named:
                yield task_service_pb2.WatchTasksResponse()
            while not watcher.finished:
                await watcher.changed.wait()
                updates = watcher.take()
                if updates:
                    yield task_service_pb2.WatchTasksResponse(tasks=updates)
                else:
                    self._hub.reread(watcher)
