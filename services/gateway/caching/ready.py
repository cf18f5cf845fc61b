"""Responses that a door has ready: made for an answer in the memory, and sent again for the same request.

A request that was answered from the memory a moment ago, byte for byte the same, by the same tenant, needs no check and
no key: its call says whether the answer still stands, and its response is there. That is less than half of the work of
any other hit.
"""

from typing import Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from observability import tracing
from services.gateway.caching.lately import Lately
from services.gateway.direct.wanted import DirectCall, Hit

SHORT_BYTES: Final = 4096
"""Longer requests are read each time: to find them takes as long."""
LONGEST_BYTES: Final = 64 << 10
"""Longer responses are made each time."""

R = TypeVar("R", bound=Message)


class Again(NamedTuple, Generic[R]):
    """A response to be sent again. It is not to be changed."""

    response: R
    took_s: float
    """How long it took to find out that it still stands."""


class _Kept(NamedTuple, Generic[R]):
    hit: Hit
    response: R


class ReadyResponses(Generic[R]):
    """Of one kind of requests of one door."""

    def __init__(self) -> None:
        self._lately: Lately[_Kept[R]] = Lately()

    def find(self, tenant: str, request: Message) -> Again[R] | None:
        """Return the response to a request that needs no more than that; None for one that must take the whole way."""
        if not self._lately or request.ByteSize() > SHORT_BYTES:
            return None
        same = request.SerializeToString()
        kept = self._lately.find(tenant, same)
        if kept is None:
            return None
        took_s = kept.hit.again(tracing.current())
        if took_s is None:
            self._lately.drop(tenant, same)
            return None
        return Again(kept.response, took_s)

    def keep(self, tenant: str, request: Message, wanted: DirectCall, response: R) -> None:
        """Keep the response to a call that was answered from the memory; others are passed over. It is not copied."""
        hit = wanted.hit
        if hit is None or (request_bytes := request.ByteSize()) > SHORT_BYTES:
            return
        response_bytes = response.ByteSize()
        if response_bytes <= LONGEST_BYTES:
            size = 3 * request_bytes + 2 * response_bytes + hit.held()
            self._lately.keep(tenant, request.SerializeToString(), _Kept(hit, response), size)
