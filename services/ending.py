"""The bounded end of a process: it cuts short what drains for too long, and shows where it hangs.

Called by `lifecycle.py` once a process was asked to stop. How long it has comes from whoever will kill it.
"""

import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

WITHIN_VARIABLE: Final = "FOREBAY_STOP_WITHIN_S"
"""Seconds between the request to stop and SIGKILL."""
_HURRY_S: Final = 1.5
"""So long before SIGKILL, what still drains is cancelled."""
_HURRY_STEP_S: Final = 0.2
_STACKS_S: Final = 0.5
"""So long before SIGKILL, the stacks of a process that still hangs go to its log."""

_LOG: Final = logging.getLogger(__name__)


def bound_end(running: asyncio.Task[Any], environ: Mapping[str, str] = os.environ) -> None:
    """Cancel a task again and again when SIGKILL comes near, and have all stacks written just before it.

    Each cancellation ends one step of the way out. The stacks are written by a thread without Python, so that they
    come even from a process that is stuck in a blocking call. Does nothing where no time is set.
    """
    try:
        within_s = float(environ.get(WITHIN_VARIABLE, ""))
    except ValueError:
        return
    loop = asyncio.get_running_loop()

    def hurry() -> None:
        if running.done():
            return
        _LOG.warning("end takes too long", extra={"waits_for": _waits_for()})
        running.cancel()
        loop.call_later(_HURRY_STEP_S, hurry)

    loop.call_later(max(0.0, within_s - _HURRY_S), hurry)
    # Not taken back: what hangs in the end of the interpreter is to show itself too.
    faulthandler.dump_traceback_later(max(0.1, within_s - _STACKS_S), file=sys.stderr)


def _waits_for() -> list[str]:
    """Return where each task of the loop waits: function and line, from the outermost to the innermost."""
    found = []
    for task in asyncio.all_tasks():
        places = []
        inner: Any = task.get_coro()
        while (frame := getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)) is not None:
            places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
            inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
        found.append(" > ".join(places) or task.get_name())
    return found
