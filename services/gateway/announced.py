"""What runners and agents announce of themselves, as gateways read it. One card that cannot be read hides no other."""

from google.protobuf.message import DecodeError

from forebay.models.v1.repository_view_pb2 import RepositoryView
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from scheduler.ports.membership import REPOSITORY_ROLE, RUNNER_ROLE, Membership


async def runners(membership: Membership) -> list[WatchStatusResponse]:
    """Return the runners with their models. Raises RecordsUnavailable."""
    found = []
    for _, card in await membership.members(RUNNER_ROLE):
        try:
            found.append(WatchStatusResponse.FromString(card))
        except DecodeError:
            continue
    return found


async def repository_views(membership: Membership) -> list[RepositoryView]:
    """Return what agents have in their repositories. Raises RecordsUnavailable."""
    found = []
    for _, card in await membership.members(REPOSITORY_ROLE):
        try:
            found.append(RepositoryView.FromString(card))
        except DecodeError:
            continue
    return found
