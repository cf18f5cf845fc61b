"""What a task is expected to cost, and by what that is foretold. Plain data and the port of whoever foretells it."""

from typing import Final, NamedTuple, Protocol


class Traits(NamedTuple):
    """What is known of a task before it runs, as far as its cost depends on it."""

    model: str
    tenant: str
    level: int
    input_size: int = 0
    """Bytes of the spec."""
    output_limit: int = 0
    """Most tokens that it may generate; 0 for what is no generation."""
    kind: str = ""
    """Value of the label that tells kinds of tasks apart; empty for none."""


class Expected(NamedTuple):
    """What a task is expected to cost."""

    work_ms: float
    """Its part of one runner's time, in milliseconds: what levels and tenants are charged."""
    execute_ms: float
    """How long its execution takes, in milliseconds; more than its work where many run at the same time."""
    least_ms: float = 0.0
    """Nine of ten such tasks take longer than this to execute; 0 while too few were seen to say so."""


class Spent(NamedTuple):
    """What an execution did cost."""

    work_ms: float
    execute_ms: float
    output_tokens: int = 0


UNKNOWN: Final = Expected(1.0, 1.0)
"""Of a task of which nothing is known."""


class CostModel(Protocol):
    """Foretells what tasks cost, and learns from what they did cost. Bounded in memory, no I/O, no clock."""

    def expect(self, traits: Traits) -> Expected:
        """Return what a task is expected to cost; never 0 or less."""
        ...

    def learn(self, traits: Traits, spent: Spent) -> None:
        """Take in what an execution cost that went well."""
        ...
