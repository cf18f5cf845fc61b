"""Notices calls whose deadline passes while they run: their gateways have other things to do than to tell."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from inference.runner.direct.held_call import HeldCall

LOOK_EVERY_S: Final = 0.05
"""How late a call that runs may be stopped. One that waits is never begun after its deadline, however late this is."""


class Deadlines:
    """Looks at all calls, as long as there are any: a timer for each would cost every call what few of them need."""

    def __init__(
        self, calls: Mapping[str, HeldCall], passed: Callable[[list[HeldCall], float], None]
    ) -> None:
        """`passed` is called with those of `calls` that are too late, and the monotonic time; they leave then."""
        self._calls = calls
        self._passed = passed
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Look after calls that came, until none is left."""
        if self._timer is None and self._calls:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        late = [call for call in self._calls.values() if call.due_s <= now_s]
        if late:
            self._passed(late, now_s)
        self.watch()
