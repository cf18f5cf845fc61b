"""Tells parents of their children, and lets children go whose parents have ended already. Called by `submit.py`.

Whatever this does not come to is done by the sweeper, which finds the tickets of the children.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from forebay.tasks.v1 import envelope_pb2
from scheduler.policies.parents import OnParentFailure
from scheduler.ports.follow_ups import FollowUpStore, Release, Released
from services.gateway.republishing import Republish
from services.parting import release_of

_PAIRS: Final = 5_000
"""Most pairs in one call of the record store."""


class Child(NamedTuple):
    """A BLOCKED task that was just recorded."""

    id: str
    parents: tuple[str, ...]
    """In the order of its `depends_on`; one may be named twice."""
    choice: OnParentFailure
    takes_outputs: bool


def child_of(envelope: envelope_pb2.Envelope) -> Child:
    """Return what linking needs of a task with parents."""
    choice = OnParentFailure.of(envelope.on_parent_failure)
    return Child(envelope.id, tuple(envelope.parents), choice, envelope.takes_outputs)


class Linking:
    """Links tasks with their parents."""

    def __init__(self, store: FollowUpStore, republish: Republish) -> None:
        self._store = store
        self._republish = republish

    async def __call__(self, tenant: str, children: Sequence[Child]) -> bool:
        """Link and release. Returns whether all is done; False leaves the rest to the sweeper, which needs the
        children's tickets for it. Raises RecordsUnavailable; calling again is harmless.
        """
        pairs = [(parent, child) for child in children for parent in dict.fromkeys(child.parents)]
        releases: list[Release] = []
        for start in range(0, len(pairs), _PAIRS):
            part = pairs[start : start + _PAIRS]
            states = await self._store.link([(parent, child.id) for parent, child in part], tenant)
            releases += [
                release_of(child.id, parent, state, child.choice, takes_outputs=child.takes_outputs)
                for (parent, child), state in zip(part, states, strict=True)
                if state is None or state.terminal
            ]
        complete = True
        for start in range(0, len(releases), _PAIRS):
            part_done = await self._let_go(releases[start : start + _PAIRS])
            complete = complete and part_done
        return complete

    async def _let_go(self, releases: Sequence[Release]) -> bool:
        outcomes, republications, tickets = await self._store.release(releases)
        await self._republish(republications, tickets)
        # Outputs of parents are put in by the scheduler, which finds the task by its ticket.
        return Released.READY not in outcomes
