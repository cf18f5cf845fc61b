"""Whose failure it is when a computation fails: of all who wait for it, of its caller alone, or of nobody who asked."""

from typing import Final

from google.rpc import code_pb2

from cache.flights import Abandoned, Disbanded, Interrupted
from scheduler.errors import (
    DeadlinePassed,
    ForebayError,
    Overloaded,
    QuotaExceeded,
    ServerUnavailable,
    ShuttingDown,
)
from services.relayed import Relayed
from services.status import grpc_code

_CALLERS_OWN: Final = (DeadlinePassed, Overloaded, QuotaExceeded)
"""Failures that say nothing about anybody else's call: of its level, its limits, or its time."""
_CALLERS_CODES: Final = frozenset({code_pb2.CANCELLED, code_pb2.DEADLINE_EXCEEDED})
_RUNNERS_CODES: Final = frozenset({code_pb2.UNAVAILABLE, code_pb2.RESOURCE_EXHAUSTED, code_pb2.ABORTED})
"""What a runner says of itself: another may do better. What two died of is refused here, and that is for all."""


def handed_over(error: ForebayError) -> Abandoned | None:
    """Return what is raised in place of a failure that leaves the others to the next of them, or to the next gateway
    where this one is closing; None for one that is the failure of all.
    """
    if isinstance(error, ShuttingDown):
        return Disbanded(str(error))
    code = grpc_code(error)
    if isinstance(error, _CALLERS_OWN) or code in _CALLERS_CODES:
        return Abandoned(str(error))
    relayed = isinstance(error, Relayed) and code in _RUNNERS_CODES
    return Interrupted(str(error)) if relayed or isinstance(error, ServerUnavailable) else None
