"""What the event loop tells the engine's thread through its inbox."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from inference.engine import RunCounts
from inference.runner.job import Job
from scheduler.policies.policy import Policy
from scheduler.states import Level


@dataclass(frozen=True, slots=True)
class Admit:
    """Let tasks wait for the engine and run."""

    tasks: Sequence[Job]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Forget tasks, waiting or running."""

    keys: Sequence[str]


@dataclass(frozen=True, slots=True)
class Raise:
    """Let a task that waits go on waiting at a higher level."""

    key: str
    level: Level


@dataclass(frozen=True, slots=True)
class HandBack:
    """Give back everything that waits."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Let what waits enter the engine by another policy."""

    policy: Policy


@dataclass(frozen=True, slots=True)
class Count:
    """Tell what the engine has counted."""

    answer: "asyncio.Future[RunCounts | None]"
    """None for an engine that does not count."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Forget everything, close the engine and end."""


Command = Admit | Cancel | Raise | HandBack | Follow | Count | Stop
