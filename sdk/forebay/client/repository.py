"""The model repository: what it holds, and loading and unloading it."""

from collections.abc import Sequence
from dataclasses import dataclass

from forebay.client import methods
from forebay.client.calls import Calls
from forebay.client.transport import complete
from forebay.models.v1.model_service_pb2 import (
    ListRepositoryRequest,
    LoadModelRequest,
    RepositoryEntry,
    RunnerState,
    UnloadModelRequest,
)


@dataclass(frozen=True, slots=True)
class RepositoryInfo:
    """One version of a model that a repository holds."""

    model: str
    version: int
    """0 for a model without versions."""
    state: str
    """`loading`, `warming`, `ready`, `draining`, `failed`, or empty for what is not loaded."""
    reason: str
    """Why it is not served, or not as its folder is now."""


class AsyncRepository:
    """The models that can be served; `AsyncClient.repository` is one."""

    def __init__(self, calls: Calls, timeout_s: float) -> None:
        self._calls = calls
        self._timeout_s = timeout_s

    async def list(self, *, ready: bool = False) -> Sequence[RepositoryInfo]:
        """Return every version, by model and version; only what is served when `ready` is true."""
        request = ListRepositoryRequest(ready=ready)
        answer = await self._calls.unary(methods.LIST_REPOSITORY, request, self._timeout_s)
        return [_info(entry) for entry in answer.entries]

    async def load(self, model: str, *, timeout_s: float | None = None) -> Sequence[RepositoryInfo]:
        """Have a model served as its folder is now, and return what is served of it once it is; for operators.

        Raises NotFound, FailedPrecondition with the reason when it cannot be used, and DeadlineExceeded, after which
        loading goes on.
        """
        request = LoadModelRequest(model=model)
        answer = await self._calls.unary(
            methods.LOAD_MODEL, request, timeout_s or self._timeout_s, safe=False
        )
        return [_info(entry) for entry in answer.entries]

    async def unload(self, model: str, *, timeout_s: float | None = None) -> None:
        """End the runners of a model once they have finished what they hold; for operators. Raises NotFound."""
        request = UnloadModelRequest(model=model)
        await self._calls.unary(methods.UNLOAD_MODEL, request, timeout_s or self._timeout_s, safe=False)


class Repository:
    """The same without asyncio; `Client.repository` is one."""

    def __init__(self, repository: AsyncRepository) -> None:
        self._repository = repository

    def list(self, *, ready: bool = False) -> Sequence[RepositoryInfo]:
        """Return every version, by model and version; only what is served when `ready` is true."""
        return complete(self._repository.list(ready=ready))

    def load(self, model: str, *, timeout_s: float | None = None) -> Sequence[RepositoryInfo]:
        """Have a model served as its folder is now; see AsyncRepository.load."""
        return complete(self._repository.load(model, timeout_s=timeout_s))

    def unload(self, model: str, *, timeout_s: float | None = None) -> None:
        """End the runners of a model; see AsyncRepository.unload."""
        complete(self._repository.unload(model, timeout_s=timeout_s))


def _info(entry: RepositoryEntry) -> RepositoryInfo:
    state = RunnerState.Name(entry.state).removeprefix("RUNNER_STATE_").lower()
    return RepositoryInfo(entry.name, entry.version, "" if not entry.state else state, entry.reason)
