"""Parts of a policy as people write them, in settings and on the command line.

limit      tenant=a level=low queued=1000 work=60s rate=50 burst=100, or shared in place of a tenant
time       500ms, 30s, 5m, 2h, 1d; a bare number counts seconds
choice     the name of an enum's member in lower case: balanced, round_robin
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final, TypeVar

from scheduler.policies.policy import Limit
from scheduler.states import Level

E = TypeVar("E", bound=IntEnum)

LIMIT_FORM: Final = "tenant=a level=low queued=1000 work=60s rate=50 burst=100"

_UNITS_S: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")


def read_choice(kind: type[E], text: str) -> E:
    """Return the member of that name. Raises ValueError with a sentence."""
    try:
        return kind[text.strip().upper()]
    except KeyError:
        names = ", ".join(one.name.lower() for one in kind)
        raise ValueError(f"{text!r} is none of {names}") from None


def read_seconds(text: str) -> float:
    """Return a length of time in seconds. Raises ValueError with a sentence."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no length of time such as 500ms, 30s, 5m or 2h")
    return float(found[1]) * _UNITS_S[found[2] or "s"]


def read_number(text: str) -> float:
    """Return a finite number. Raises ValueError with a sentence."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number")
    return number


def read_whole(text: str) -> int:
    """Return a whole number. Raises ValueError with a sentence."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def read_truth(text: str) -> bool:
    """Return whether a text means yes. Raises ValueError with a sentence."""
    try:
        return _TRUTHS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r} is neither true nor false") from None


def read_limit(text: str) -> Limit:
    """Return the limit that a text means; whether it may stand is for `policy_rules.py`. Raises ValueError with a
    sentence.
    """
    given: dict[str, Any] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if word == "shared":
            key, value = word, "true"
        elif not (equals and value) or key not in _LIMIT_PARTS:
            raise ValueError(f"{word!r} is no part of a limit such as: {LIMIT_FORM}")
        field, read = _LIMIT_PARTS[key]
        if field in given:
            raise ValueError(f"{key} is said twice in {text!r}")
        try:
            given[field] = read(value)
        except ValueError as fault:
            raise ValueError(f"{key}: {fault}") from None
    if not given:
        raise ValueError(f"an empty text is no limit such as: {LIMIT_FORM}")
    return Limit(**given)


def limit_text(limit: Limit) -> str:
    """Write a limit so that `read_limit` reads the same one."""
    level = Level(limit.level).label if limit.level else ""
    parts = {
        "tenant": limit.tenant,
        "level": level,
        "queued": limit.queued_tasks,
        "work": f"{number_text(limit.queued_work_s)}s" if limit.queued_work_s else "",
        "rate": number_text(limit.rate) if limit.rate else "",
        "burst": limit.burst,
    }
    said = [f"{key}={value}" for key, value in parts.items() if value]
    return " ".join((["shared"] if limit.shared else []) + said)


def number_text(value: float) -> str:
    """Write a finite number exactly, without the exponent that `read_seconds` does not take or a needless .0."""
    return f"{Decimal(repr(float(value))):f}".removesuffix(".0")


_TRUTHS: Final = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
_LIMIT_PARTS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "tenant": ("tenant", str),
    "level": ("level", lambda text: int(read_choice(Level, text))),
    "shared": ("shared", read_truth),
    "queued": ("queued_tasks", read_whole),
    "work": ("queued_work_s", read_seconds),
    "rate": ("rate", read_number),
    "burst": ("burst", read_whole),
}
"""Word of a limit -> the field of Limit, and how its value is read."""
