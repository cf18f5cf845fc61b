"""Follows the policy that stands in the record store: every process that orders, limits or routes has one of these.

A change takes effect within a second or two everywhere. What cannot be read or may not stand is refused, and the policy
that was followed before goes on; so it does while the store does not answer.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from scheduler.errors import InvalidInput, RecordsUnavailable
from scheduler.policies.policy import Policy
from scheduler.ports.clock import Clock
from scheduler.ports.policies import PolicyStore, StoredPolicy
from services.policy_on_wire import restored

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
"""Time between two looks: the contract gives a change two seconds to work everywhere."""


class PolicyFollower:
    """Keeps a process in step with the stored policy."""

    def __init__(
        self, store: PolicyStore, initial: Policy, apply: Callable[[Policy, int], None], clock: Clock
    ) -> None:
        """`apply` is told of every change of the policy, with its version; `initial` is version 0, which whoever
        calls has applied already.
        """
        self.initial: Final = initial
        self.policy = initial
        """The policy that is followed."""
        self.version = 0
        """Its version."""
        self.known = asyncio.Event()
        """Set once the store has been asked: nothing should start under another policy than the stored one. Who waits
        for it bounds the wait."""
        self._store = store
        self._apply = apply
        self._clock = clock
        self._seen = (0, 0)
        """Version and time of what was taken or refused last; the time tells apart what a new store calls the same."""
        self._away = False

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.refresh()
            except RecordsUnavailable as error:
                if not self._away:
                    log.warning("policy not read, the last one known stands: %s", error)
                self._away = True
            else:
                self._away = False
            await self._clock.sleep(INTERVAL_S)

    async def refresh(self) -> None:
        """Look once. Raises RecordsUnavailable."""
        before = self._seen
        standing = await self._store.policy()
        # What was taken during the look may be newer than what it found: the next look tells.
        if self._seen == before:
            self.take(standing)
        self.known.set()

    def take(self, standing: StoredPolicy) -> None:
        """Follow what is stored, when it is not what was seen last. A store that has lost its policy means the
        initial one again, as for every process that starts now.
        """
        seen = (standing.version, standing.time_ms)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            policy = restored(standing.body) if standing.version else self.initial
        except InvalidInput as fault:
            refused = {"version": standing.version, "standing": self.version, "faults": str(fault)}
            log.error("stored policy refused, the one before stands", extra=refused)
            return
        self.policy, self.version = policy, standing.version
        self._apply(policy, standing.version)
        log.info("policy followed", extra={"version": standing.version})
