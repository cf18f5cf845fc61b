"""How an engine ends its runner that does not come back: nothing but the end of the process stops it then.

EngineStuck
└── EngineHung
"""

from collections.abc import Sequence


class EngineStuck(Exception):
    """A task that was to be stopped did not leave the engine in time. It is over, so nobody else is to blame."""


class EngineHung(EngineStuck):
    """A step did not end in time, and nobody had asked for its end: what it executes is to blame."""

    def __init__(self, message: str, suspects: Sequence[str]) -> None:
        """`suspects` are the keys of what the engine worked on."""
        super().__init__(message)
        self.suspects = suspects
