"""What the protocol asks of repositories of models, and how it is told of them."""

from collections.abc import Sequence
from typing import Final

from forebay.compat.kserve.kserve_service_pb2 import RepositoryIndexResponse
from forebay.models.v1 import model_service_pb2
from forebay.models.v1.model_service_pb2 import RepositoryEntry
from scheduler.errors import InvalidInput

_STATES: Final = {
    model_service_pb2.RUNNER_STATE_LOADING: "LOADING",
    model_service_pb2.RUNNER_STATE_WARMING: "LOADING",
    model_service_pb2.RUNNER_STATE_READY: "READY",
    model_service_pb2.RUNNER_STATE_DRAINING: "UNLOADING",
}
_UNAVAILABLE: Final = "UNAVAILABLE"


def index_response(entries: Sequence[RepositoryEntry]) -> RepositoryIndexResponse:
    """Return a listing as the protocol has it."""
    response = RepositoryIndexResponse()
    for entry in entries:
        loaded = entry.state != model_service_pb2.RUNNER_STATE_UNSPECIFIED
        response.models.add(
            name=entry.name,
            version=str(entry.version or 1) if loaded or entry.version else "",
            state=_STATES.get(entry.state, _UNAVAILABLE),
            reason=entry.reason,
        )
    return response


def check_repository(name: str) -> None:
    """Raise InvalidInput when a certain repository is meant."""
    if name:
        raise InvalidInput.of("repository_name", "must be empty: repositories have no names here")


def check_load(model: str, parameters: Sequence[str]) -> None:
    """Raise InvalidInput for what a client may not say of a model that is to be loaded."""
    if not model:
        raise InvalidInput.of("model_name", "is required")
    if parameters:
        given = ", ".join(sorted(parameters)[:8])
        raise InvalidInput.of(
            "parameters", f"{given}: configurations and files of models are not taken from clients"
        )
