"""What the engine's thread executes: a leased task (held.py) or a call that waits on the line (direct/held_call.py).

Here is what both have in common: their place in line, their deadline, and what their execution took.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Final

from inference.engine import GenerateRequest, Request
from scheduler.states import Level

LEVELS: Final[dict[int, Level]] = {level.value: level for level in Level}
"""Levels by their numbers in the contract; what is not among them is NORMAL."""


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through the engine. The event loop owns it, except `admitted_s`, `work_s` and
    `execute_s`, which the engine thread sets before it tells of the end, and `level`, which it raises.
    """

    key: str
    """Names it to the engine."""
    level: Level
    received_s: float
    """Monotonic time at which the runner got it."""
    request: Request | None = field(default=None, kw_only=True)
    """What the engine gets; let go of when it is admitted. None from the start for work that could not be read."""
    due_s: float = field(default=inf, kw_only=True)
    """Monotonic time by which nobody wants it any more."""
    traceparent: str = field(default="", kw_only=True)
    """Of the span below which its own belongs; empty when it is not traced."""
    operation: str = field(default="", kw_only=True)
    """What a generation does, by OpenTelemetry's name; empty for all else."""
    isolation: str = field(default="", kw_only=True)
    """The group of suspects that it belongs to; empty for none."""
    at_once: bool = field(default=False, kw_only=True)
    """Whether each part of its output is told of as soon as it is there, not only the first and the last."""
    admitted_s: float = field(default=0.0, kw_only=True)
    """Monotonic time at which the engine took it in; 0 before."""
    work_s: float = field(default=0.0, kw_only=True)
    """Its part of the engine's time so far, in seconds."""
    execute_s: float = field(default=0.0, kw_only=True)
    """From `admitted_s` until the engine was through with it, in seconds; 0 before."""

    @property
    def places(self) -> int:
        """How many places it takes in the engine: one for each answer that it asks for. Before it is admitted."""
        return max(1, self.request.n) if isinstance(self.request, GenerateRequest) else 1
