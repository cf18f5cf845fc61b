"""What those who ask for one computation are told, and what they may be told in place of an answer."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


class FlightFailed(Exception):
    """The computation that this caller waited for was another's, and failed."""

    def __init__(self, status: bytes) -> None:
        """`status`: the failure as a serialised google.rpc.Status."""
        self.status = status
        super().__init__("the computation that this request waited for failed")


class Abandoned(Exception):
    """A computation ended for a reason that concerns its own caller only: a deadline, a cancellation, a shutdown.

    Raised by a computation, it makes room for the next who waits; its cause, if it has one, is what its own caller
    gets.
    """


class Interrupted(Abandoned):
    """A computation was broken off by what is no fault of who asked, and may befall the next one as well: as when what
    computed it went. Others try it, but not without end; its cause is what they are told then.
    """


class Disbanded(Abandoned):
    """A computation ended for a reason that each who waits in this process would meet: its cause is what all of them
    are told. Another process may take over.
    """


class OnItsOwn(Exception):
    """A request is not answered by any flight: what it asked is no longer the same as what others ask. It must ask once
    more, or compute for itself alone.
    """


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of the answer, in its place."""

    place: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Restarted:
    """The chunks from this place on are void: the leader is gone, and the one who took over says something else.
    The next chunk has this place.
    """

    place: int


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """The whole answer; nothing follows."""

    answer: T
