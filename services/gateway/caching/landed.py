"""Answers as calls are told them, and the ends of look-ups."""

from dataclasses import dataclass

from cache.ports import Entry
from cache.tiers import Look
from forebay.cache.v1.stored_answer_pb2 import StoredAnswer


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Landed:
    """An answer, wherever it comes from."""

    stored: StoredAnswer
    entry: Entry | None = None
    """What it was read from; None when it was computed just now."""
    tier: str = ""
    """Where that was found."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The end of a look-up."""

    landed: Landed | None
    looks: tuple[Look, ...] = ()
    """The tiers below the memory that were asked, from the top."""
