"""A model that cannot be used: shown with the reason for a while, then it is tried again, later and later."""

import logging
from contextlib import suppress
from typing import Final

from forebay.models.v1 import model_service_pb2 as models
from forebay.runner.v1.runner_service_pb2 import WatchStatusResponse
from inference.agent.posts import Post
from inference.presence import ANNOUNCE_EVERY_S, TTL_MS
from scheduler.errors import RecordsUnavailable
from scheduler.ports.clock import Clock
from scheduler.ports.membership import RUNNER_ROLE, Membership

UNKNOWN_REASON: Final = "the runner could not load the model; its log says why"

_log = logging.getLogger(__name__)


class UnusableModel:
    """The rests of one post between two tries."""

    def __init__(
        self, post: Post, first_retry_s: float, longest_retry_s: float, membership: Membership, clock: Clock
    ) -> None:
        self._post = post
        self._first_retry_s = first_retry_s
        self._longest_retry_s = longest_retry_s
        self._membership = membership
        self._clock = clock
        self._retry_s = first_retry_s
        self._logged: set[str] = set()
        """Reasons that were logged since the model was last ready."""

    def was_ready(self) -> None:
        """Note that the model was ready: the next rest is short again, and its reason news."""
        self._retry_s = self._first_retry_s
        self._logged.clear()

    def card_of(self, runner_id: str, *known: WatchStatusResponse | None) -> WatchStatusResponse:
        """Return the first of what is known of a runner that says why, or else a card that says nothing better."""
        for card in known:
            if card is not None and card.runner.state == models.RUNNER_STATE_FAILED:
                return card
        post = self._post
        runner = models.Runner(
            id=runner_id,
            model=post.model,
            version=post.version,
            generation=post.generation,
            state=models.RUNNER_STATE_FAILED,
            reason=UNKNOWN_REASON,
        )
        return WatchStatusResponse(
            runner=runner, model=models.Model(name=post.model, failures=[UNKNOWN_REASON])
        )

    async def rest(self, card: WatchStatusResponse) -> None:
        """Show a card until the next try, so that those who look for the model see the reason."""
        wait_s = self._next_retry_s()
        reason = card.runner.reason
        _log.log(
            logging.INFO if reason in self._logged else logging.ERROR,
            "model unusable",
            extra={"model": self._post.model, "reason": reason, "retry_in_s": wait_s},
        )
        self._logged.add(reason)
        until_s = self._clock.monotonic() + wait_s
        shown = card.SerializeToString()
        try:
            while self._clock.monotonic() < until_s:
                with suppress(RecordsUnavailable):
                    await self._membership.announce(RUNNER_ROLE, card.runner.id, shown, TTL_MS)
                await self._clock.sleep(min(ANNOUNCE_EVERY_S, wait_s))
        finally:
            with suppress(RecordsUnavailable):
                await self._membership.withdraw(RUNNER_ROLE, card.runner.id)

    def _next_retry_s(self) -> float:
        """Return how long the model is left alone now: twice as long each time, up to a limit."""
        wait_s, self._retry_s = self._retry_s, min(self._longest_retry_s, self._retry_s * 2)
        return min(wait_s, self._longest_retry_s)
