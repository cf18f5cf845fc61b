"""Notices that what is learned does not hold any more: errors that keep falling on one side.

A cumulative sum of signs, with a slack that takes away what chance brings (Page, "Continuous Inspection Schemes",
Biometrika 1954). Signs about the median, so that heavy tails do not raise it.
"""

from typing import Final

_SLACK: Final = 0.4
_ALARM: Final = 12.0
"""Twenty in a row on one side; by chance, once in about a hundred thousand values."""


class OneSided:
    """Watches one stream of errors."""

    __slots__ = ("_down", "_up", "alarms")

    def __init__(self) -> None:
        self._up = self._down = 0.0
        self.alarms = 0
        """How often it was no chance."""

    def note(self, side: int) -> bool:
        """Take in on which side a value fell: 1 above what was expected, -1 below, 0 on it. Returns whether that
        cannot be chance any more; then it begins anew.
        """
        up = self._up + side - _SLACK
        down = self._down - side - _SLACK
        if up > _ALARM or down > _ALARM:
            self._up = self._down = 0.0
            self.alarms += 1
            return True
        self._up = up if up > 0.0 else 0.0
        self._down = down if down > 0.0 else 0.0
        return False
