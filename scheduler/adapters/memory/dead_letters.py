"""Dead letters in memory."""

from collections.abc import Sequence

from scheduler.adapters.memory.rows import Row
from scheduler.adapters.memory.sorted_sets import Listing
from scheduler.adapters.memory.state import State
from scheduler.errors import MessageUnreadable
from scheduler.ids import partition_of
from scheduler.ports.dead_letters import UNREADABLE_TENANT, UnreadableLetter
from scheduler.ports.records import HistoryEntry, NewTask
from scheduler.states import Level, TaskState


class MemoryDeadLetters:
    """DeadLetterStore in memory."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def dead_letters(self, tenant: str, before: str, limit: int) -> list[str]:
        """List a tenant's letters; see DeadLetterStore."""
        return self._state.page(self._state.dead.get(tenant, Listing()), before, limit)

    async def bury(self, letters: Sequence[UnreadableLetter]) -> list[bool]:
        """Keep unreadable messages; see DeadLetterStore."""
        return [self._bury(letter) for letter in letters]

    def _bury(self, letter: UnreadableLetter) -> bool:
        if self._state.row(letter.id) is not None:
            return False
        # It is no task: it begins at its end, no queue counts it, and nothing follows from it.
        row = Row(
            NewTask(letter.id, UNREADABLE_TENANT, "", Level.NORMAL, b"", max_attempts=0),
            TaskState.FAILED,
            publication=0,
            history=[HistoryEntry(self._state.clock.now_ms(), TaskState.FAILED, MessageUnreadable.reason)],
            waits_for=set(),
            error=letter.error,
            raw=letter.payload,
            topic=letter.topic,
        )
        self._state.partition(partition_of(letter.id)).rows[letter.id] = row
        self._state.bury(row)
        return True

    async def raw(self, ids: Sequence[str]) -> list[tuple[bytes, str]]:
        """Read unreadable messages; see DeadLetterStore."""
        rows = [self._state.row(letter_id) for letter_id in ids]
        return [(row.raw, row.topic) if row else (b"", "") for row in rows]

    async def remove(self, ids: Sequence[str], tenant: str) -> list[bool]:
        """Take letters off the list; see DeadLetterStore."""
        return [self._remove(letter_id, tenant) for letter_id in ids]

    def _remove(self, letter_id: str, tenant: str) -> bool:
        row = self._state.row(letter_id)
        if row is None or not self._state.dead.get(tenant, Listing()).drop(letter_id):
            return False
        row.expire_ms = self._state.clock.now_ms() + self._state.retention.record_s(tenant) * 1000
        return True
