"""Stop strings: found in text that arrives in pieces, however the pieces cut them."""

from collections.abc import Sequence


class StopScanner:
    """Lets text through up to the first stop string, and holds back what could be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Take the strings to look for; empty ones are ignored."""
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Take new text; return what is now safe to show. After a stop string was found it returns nothing more.

        When two stop strings are complete at once, the one that begins first counts, so the result does not depend on
        how the text was cut.
        """
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        self._held += text
        begins = [at for at in map(self._held.find, self._stops) if at >= 0]
        if begins:
            self.stopped = True
            shown, self._held = self._held[: min(begins)], ""
            return shown
        keep = self._possible_beginning()
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return what was held back: no more text comes."""
        shown, self._held = self._held, ""
        return "" if self.stopped else shown

    def _possible_beginning(self) -> int:
        """Return the length of the longest end of the held text that begins a stop string."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
