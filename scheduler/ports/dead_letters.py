"""The list of dead letters: tasks whose attempts are used up, and messages that nobody could read.

A task enters its tenant's list in the step that makes it FAILED, so it is there exactly once. Its record is kept for
the retention of dead letters. Guarantees as in ports/records.py.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

UNREADABLE_TENANT = ""
"""Owner of messages that nobody could read: whoever operates the platform."""


class UnreadableLetter(NamedTuple):
    """A message that nobody could read."""

    id: str
    """Has the form of a task's id, and is made from the message, so that the same one is not kept twice."""
    payload: bytes
    topic: str
    error: bytes
    """Serialised `google.rpc.Status`; opaque here."""


class DeadLetterStore(Protocol):
    """Used by the gateway; `bury` by the scheduler."""

    async def dead_letters(self, tenant: str, before: str, limit: int) -> list[str]:
        """Return ids of a tenant's dead letters, newest task first; `before` as in `QueryStore.list_ids`. Those
        whose records have expired are dropped from the list when they are met.
        """
        ...

    async def bury(self, letters: Sequence[UnreadableLetter]) -> list[bool]:
        """Keep messages as FAILED records with their bytes; False for those that are kept already."""
        ...

    async def raw(self, ids: Sequence[str]) -> list[tuple[bytes, str]]:
        """Return bytes and topic of unreadable messages; both empty for tasks and what is not there."""
        ...

    async def remove(self, ids: Sequence[str], tenant: str) -> list[bool]:
        """Take letters off the list; False for those that are not on it. Their records stay for the ordinary
        retention from now on.
        """
        ...
