"""Patience with a log that does not answer, for processes that start: one that died of it would only be started again,
and a supervisor gives up on what dies too often.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from scheduler.errors import LogUnavailable
from scheduler.ports.clock import Clock

RETRY_S: Final = 1.0
"""Pause before the log is asked again."""

_LOG: Final = logging.getLogger(__name__)


async def until_log_answers(ask: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Ask the log for something, again and again while that raises LogUnavailable; the first time is told.

    Endless while the log is away: cancel it. What else `ask` raises ends it, StartupRefused for one.
    """
    told = False
    while True:
        try:
            await ask()
        except LogUnavailable as error:
            if not told:
                _LOG.warning(
                    "the log is away, waiting for it", extra={"reason": error.reason, "cause": str(error)}
                )
            told = True
        else:
            return
        await clock.sleep(RETRY_S)
