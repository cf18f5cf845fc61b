"""What a span is to the services: its kind, its attributes, and what may be done while it runs."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Protocol

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class Kind(IntEnum):
    """Which side of a call a span is, with the numbers of OpenTelemetry's API."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


class Span(Protocol):
    """A running span. Never give it a prompt, an output or a secret."""

    @property
    def traceparent(self) -> str:
        """W3C traceparent for those who continue the trace; empty when this span is not recorded."""
        ...

    def set(self, key: str, value: Value) -> None:
        """Set an attribute; names come from `observability.names`."""
        ...

    def fail(self, reason: str) -> None:
        """Mark it as failed for a stable UPPER_SNAKE reason."""
        ...
