"""What an engine tells of its work: runs of tensor models, steps of generations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RunSize:
    """Runs of one number of rows: how many, and their time in seconds."""

    runs: int = 0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What an engine has counted since it was loaded; its warming up is not in it."""

    rows: int = 0
    """Rows of requests that succeeded."""
    by_rows: Mapping[int, RunSize] = field(default_factory=dict)
    """By the rows of a run."""
    request_input_s: float = 0.0
    """Putting inputs together, summed over the requests that succeeded: each counts the whole of its run."""
    request_infer_s: float = 0.0
    request_output_s: float = 0.0


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Where the latest step spent its time, in seconds, and on how much."""

    prefill_s: float = 0.0
    decode_s: float = 0.0
    sample_s: float = 0.0
    """Choosing tokens: masks, penalties, the draw."""
    other_s: float = 0.0
    """The rest of the step: text, planning, caches, bookkeeping."""
    prefill_tokens: int = 0
    decode_rows: int = 0
    pieces: Sequence[tuple[str, float]] = ()
    """The pieces of prompts that were read: the key of the request, and the seconds that its piece took."""


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a generating engine holds now, and what it has counted since it was loaded."""

    running: int = 0
    """Rows in a slot."""
    waiting: int = 0
    """Rows that wait for a slot."""
    preempted: int = 0
    """Rows that were paused and wait to go on."""
    preemptions: int = 0
    """Pauses so far."""
    kv_tokens: int = 0
    """Tokens that the slots hold."""
    kv_capacity: int = 0
    """Tokens that they can hold."""
    prefix_queries: int = 0
    """Prompt tokens that were looked up in the prefix cache."""
    prefix_hits: int = 0
    """Those that it held."""
