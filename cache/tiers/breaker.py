"""When a tier that does not answer is asked again.

closed --- failures in a row ---> open --- pause is over ---> half-open: one call may try
  ^                                 ^                            |         |
  +---------- it succeeded --------------------------------------+         |
                                    +---- it failed: a longer pause -------+
"""

from enum import Enum
from typing import Final

_FAILURES_TO_OPEN: Final = 3
_FIRST_PAUSE_MS: Final = 500
_LONGEST_PAUSE_MS: Final = 5_000


class Admission(Enum):
    """Whether a call may be made."""

    YES = "yes"
    PROBE = "probe"
    """This one, to see whether the other side is back; no other until it has ended."""
    NO = "no"


class Breaker:
    """Counts failures of one tier; times come from the caller."""

    def __init__(
        self,
        failures: int = _FAILURES_TO_OPEN,
        first_pause_ms: int = _FIRST_PAUSE_MS,
        longest_pause_ms: int = _LONGEST_PAUSE_MS,
    ) -> None:
        self._limit = failures
        self._first_pause_ms = first_pause_ms
        self._longest_pause_ms = longest_pause_ms
        self._failures = 0
        self._pause_ms = first_pause_ms
        self._open_until_ms: int | None = None
        self._probing = False

    @property
    def open(self) -> bool:
        """Whether calls are held back."""
        return self._open_until_ms is not None

    def ask(self, now_ms: int) -> Admission:
        """Say whether a call may be made now. Who gets YES or PROBE ends it with one of the three below."""
        if self._open_until_ms is None:
            return Admission.YES
        if self._probing or now_ms < self._open_until_ms:
            return Admission.NO
        self._probing = True
        return Admission.PROBE

    def succeeded(self, admission: Admission) -> None:
        """A call was answered. One that began before the breaker opened does not close it."""
        if admission is Admission.PROBE:
            self._probing = False
            self._open_until_ms = None
            self._pause_ms = self._first_pause_ms
        if self._open_until_ms is None:
            self._failures = 0

    def failed(self, admission: Admission, now_ms: int) -> None:
        """A call was not answered."""
        if admission is Admission.PROBE:
            self._probing = False
            self._pause_ms = min(self._pause_ms * 2, self._longest_pause_ms)
        elif self._open_until_ms is not None:
            return
        else:
            self._failures += 1
            if self._failures < self._limit:
                return
        self._open_until_ms = now_ms + self._pause_ms

    def given_up(self, admission: Admission) -> None:
        """A call ended without saying anything about the other side: its caller was cancelled."""
        if admission is Admission.PROBE:
            self._probing = False
