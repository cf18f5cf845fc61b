"""A task of the window, and what the window says of many."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from scheduler.lanes import Lane
from scheduler.policies.expected import UNKNOWN, Expected
from scheduler.states import Level

EnvelopeT = TypeVar("EnvelopeT")
"""What the log carried for one task; opaque here."""
BundleT = TypeVar("BundleT")
"""The message that a task came in, as the settlement knows it; opaque here."""


@dataclass(slots=True, eq=False)
class WaitingTask(Generic[EnvelopeT, BundleT]):
    """A task of the window, with what is needed to choose it, lease it and settle its message."""

    id: str
    publication: int
    model: str
    lane: Lane
    create_time_ms: int
    """Since when it waits, milliseconds since the Unix epoch: its creation, or the time that it was to wait for."""
    envelope: EnvelopeT
    bundle: BundleT
    received_ns: int = 0
    """When it arrived here, nanoseconds since the Unix epoch, for its trace."""
    isolation: str = ""
    """The group of suspects that it belongs to since a runner died with all of them; empty for none."""
    labels: Mapping[str, str] | None = None
    """Its labels, once somebody had to know them: only a pause by label does."""
    tenant: str = ""
    deadline_ms: int = 0
    """When it must have ended, milliseconds since the Unix epoch; 0 for no deadline."""
    expected: Expected = UNKNOWN
    """What it is expected to cost; stays as it is while the task waits."""
    urgent: bool = False
    """Whether it came by the express lane: its deadline is near."""
    sequence: int = 0
    """Its place in the order of arrival. The window sets it."""


class Contents(NamedTuple):
    """What the window has of one level, tenant and model."""

    level: Level
    tenant: str
    model: str
    tasks: int
    work_ms: float
    """Expected, in milliseconds of one runner's time."""
    oldest_ms: int
    """Earliest creation time, milliseconds since the Unix epoch."""
    held: bool
    """Whether a pause holds these back; the others of the same level, tenant and model are told apart from them."""
