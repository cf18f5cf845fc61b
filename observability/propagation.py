"""W3C trace context on the two roads between processes: gRPC metadata and the properties of a log message.

https://www.w3.org/TR/trace-context/: `00-<trace id, 32 hex>-<parent id, 16 hex>-<flags, 2 hex>`. A context is
handled as that string everywhere; the empty string means that there is none. Only the traceparent travels.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from observability.names import TRACEPARENT

# Versions above 00 may append fields; ff is forbidden.
_PATTERN: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_LONGEST: Final = 256


class TraceContext(NamedTuple):
    """A parsed traceparent."""

    trace_id: int
    span_id: int
    sampled: bool


def parse(traceparent: str) -> TraceContext | None:
    """Read a traceparent; None when it is not one."""
    match = _PATTERN.fullmatch(traceparent) if len(traceparent) <= _LONGEST else None
    if match is None or (traceparent.startswith("00-") and match[4]):
        return None
    context = TraceContext(int(match[1], 16), int(match[2], 16), bool(int(match[3], 16) & 1))
    return context if context.trace_id and context.span_id else None


def render(context: TraceContext) -> str:
    """Write a traceparent of version 00."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{'01' if context.sampled else '00'}"


def trace_id_of(traceparent: str) -> str:
    """Return the trace id for a log line, as 32 hexadecimal digits; empty when there is none."""
    return traceparent[3:35] if parse(traceparent) else ""


def from_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Take the context out of the metadata of an incoming call; empty when there is none, or a broken one."""
    for key, value in metadata or ():
        if key == TRACEPARENT and isinstance(value, str):
            return value if parse(value) else ""
    return ""


def to_metadata(traceparent: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata entries that carry a context on an outgoing call."""
    return ((TRACEPARENT, traceparent),) if traceparent else ()


def from_properties(properties: Mapping[str, str]) -> str:
    """Take the context out of the properties of a message; empty when there is none, or a broken one."""
    value = properties.get(TRACEPARENT, "")
    return value if parse(value) else ""


def to_properties(traceparent: str) -> dict[str, str]:
    """Return the message properties that carry a context."""
    return {TRACEPARENT: traceparent} if traceparent else {}
