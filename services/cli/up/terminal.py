"""The lines that `forebay up` writes: who, then what. Colours only on a terminal."""

import contextlib
import re
import sys
import threading
from typing import Final

import click

_BAD: Final = re.compile(r"\b(?:died|failed|cannot|error|fatal|critical|not ready|killed)\b", re.IGNORECASE)
_GOOD: Final = re.compile(r"\b(?:ready|is ready)\b")
_WHO_WIDTH: Final = 12


class Terminal:
    """Writes lines to stdout until nobody reads them any more; then it is silent."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._muted = False
        self._lock = threading.Lock()

    def say(self, who: str, text: str) -> None:
        """Write one line about one part. Any thread."""
        colour = "red" if _BAD.search(text) else "green" if _GOOD.search(text) else None
        self.line(f"{click.style(f'{who:<{_WHO_WIDTH}}', bold=True)} {click.style(text, fg=colour)}")

    def line(self, text: str = "") -> None:
        """Write one line as it is."""
        with self._lock:
            if self._muted:
                return
            try:
                click.echo(text)
                sys.stdout.flush()
            except OSError:
                self._muted = True
                with contextlib.suppress(OSError):
                    sys.stdout.close()
