"""Numbers, lengths of time and lists as sentences have them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

MOST_NAMES: Final = 5


def duration(seconds: float) -> str:
    """Write a length of time with two figures that matter."""
    seconds = max(0.0, seconds)
    if seconds < 0.001:
        return "a moment"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 1:
        return f"{minutes} min"
    days = seconds / 86_400
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{days:.0f} days"


def tasks(number: int) -> str:
    """Write how many tasks."""
    return "1 task" if number == 1 else f"{number:,} tasks"


def runners(number: int) -> str:
    """Write how many runners."""
    return "1 runner" if number == 1 else f"{number:,} runners"


def names(found: Sequence[str], most: int = MOST_NAMES) -> str:
    """Write a list of names, of many only the first."""
    more = len(found) - most
    return ", ".join(found[:most]) + (f" and {more} more" if more > 0 else "")


def moment(time_ms: int) -> str:
    """Write a moment, in milliseconds since the Unix epoch, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
