"""ListTasks: pages of a caller's tasks, newest first, by key and not by offset. Called by `task_service.py`."""

from collections.abc import AsyncIterator
from typing import Final

from forebay.tasks.v1 import task_service_pb2
from scheduler.ports.records import QueryStore, Record
from services.gateway import convert
from services.gateway.filtering import Filter
from services.gateway.page_token import PageTokens
from services.gateway.request_validation import DEFAULT_PAGE, check_list

SCAN_LIMIT: Final = 5_000
"""Most records that one page looks at: a filter that matches little gives short pages, never slow ones."""
_STEP: Final = 250


async def newest_first(
    store: QueryStore, tenant: str, before: str, limit: int | None
) -> AsyncIterator[tuple[str, Record | None]]:
    """Yield up to `limit` ids of a tenant (None: all) with their records; None for those that have expired."""
    while limit is None or limit > 0:
        step = _STEP if limit is None else min(limit, _STEP)
        ids = await store.list_ids(tenant, before, step)
        for task_id, record in zip(ids, await store.get(ids, False) if ids else (), strict=True):
            yield task_id, record
        if len(ids) < step:
            return
        before = ids[-1]
        limit = None if limit is None else limit - step


class ListTasks:
    """The use case."""

    def __init__(self, store: QueryStore, tokens: PageTokens, scan_limit: int = SCAN_LIMIT) -> None:
        self._store = store
        self._tokens = tokens
        self._scan_limit = scan_limit

    async def __call__(
        self, tenant: str, request: task_service_pb2.ListTasksRequest
    ) -> task_service_pb2.ListTasksResponse:
        """Return one page. Raises InvalidInput and RecordsUnavailable."""
        check_list(request)
        wanted = Filter(request.filter)
        size = request.page_size or DEFAULT_PAGE
        before = self._tokens.read(tenant, request.filter, request.page_token)
        response = task_service_pb2.ListTasksResponse()
        seen, last_id = 0, ""
        async for task_id, record in newest_first(self._store, tenant, before, self._scan_limit):
            seen, last_id = seen + 1, task_id
            if record is not None and record.tenant == tenant and wanted.matches(record):
                response.tasks.append(convert.task_of(record, include_input=False, include_result=False))
                if len(response.tasks) == size:
                    break
        if len(response.tasks) == size or seen == self._scan_limit:
            response.next_page_token = self._tokens.make(tenant, request.filter, last_id)
        return response
