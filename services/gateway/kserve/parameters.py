"""The parameters of a request: what they say, whichever of the types that clients use they come in.

Priorities are the protocol's, lower numbers first: 1 is CRITICAL, 2 HIGH, 3 NORMAL, 4 and more LOW; 0, which stands for
the server's default, is NORMAL. The names of levels are taken too. Parameters that nobody here knows are left alone, as
Triton does, except those by which the elements of a tensor would be somewhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeGuard

from cache.key import CacheMode
from forebay.compat.kserve.kserve_service_pb2 import InferParameter
from scheduler.errors import InvalidInput
from scheduler.states import Level
from services.gateway.convert import LONGEST_KIND

Value = bool | int | float | str | None
"""None for a parameter without a value."""

SEQUENCE_CHARACTERS: Final = 256
CLASSIFICATION: Final = "classification"
CACHE: Final = "cache"
"""Of a request: what it wants of the result cache, `DEFAULT`, `BYPASS`, `REFRESH` or `ONLY`."""
CACHED: Final = "cached"
"""Of a response: true where nothing was computed for it."""
_SHARED_MEMORY: Final = "shared_memory_"
_NUMBERED: Final = (Level.NORMAL, Level.CRITICAL, Level.HIGH, Level.NORMAL)
"""Levels by number; those behind are LOW."""
_NAMED: Final = MappingProxyType({level.name.lower(): level for level in Level})
_MOST_CLASSES: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Options:
    """What the parameters of a request say."""

    priority: Level = Level.NORMAL
    timeout_ms: int = 0
    """How long the client waits; 0 when it does not say."""
    sequence: str = ""
    """The id of the sequence; empty for none."""
    sequence_start: bool = False
    sequence_end: bool = False
    empty_final: bool = False
    """Whether a stream shall mark the last response to a request, with an empty one where need be."""
    kind: str = ""
    """What kind of work it is, as a label says it of tasks; empty for none."""
    cache: CacheMode = CacheMode.DEFAULT
    """What it wants of the result cache."""
    others: Mapping[str, Value] = field(default_factory=dict)
    """All parameters."""


NO_OPTIONS: Final = Options()


def value_of(parameter: InferParameter) -> Value:
    """Return the value of a parameter."""
    kind = parameter.WhichOneof("parameter_choice")
    value: Value = getattr(parameter, kind) if kind is not None else None
    return value


def read_options(values: Mapping[str, Value]) -> Options:
    """Return what the parameters of a request say. Raises InvalidInput."""
    return Options(
        priority=_priority(values["priority"]) if "priority" in values else Level.NORMAL,
        timeout_ms=_timeout_ms(values["timeout"]) if "timeout" in values else 0,
        sequence=_sequence(values["sequence_id"]) if "sequence_id" in values else "",
        sequence_start=_flag(values, "sequence_start"),
        sequence_end=_flag(values, "sequence_end"),
        empty_final=_flag(values, "triton_enable_empty_final_response"),
        kind=_kind(values["kind"]) if "kind" in values else "",
        cache=_cache(values[CACHE]) if CACHE in values else CacheMode.DEFAULT,
        others=values,
    )


def refuse_shared_memory(parameters: Mapping[str, InferParameter], at: str, what: str) -> None:
    """Raise InvalidInput when the elements of a tensor are said to be in memory that client and server share."""
    for name in parameters:
        if name.startswith(_SHARED_MEMORY):
            raise InvalidInput.of(
                f"{at}.parameters",
                f"{what} is to be in shared memory ({name}): clients share no memory with the runners here, "
                "send its elements in the request",
            )


def classes_of(parameters: Mapping[str, InferParameter], at: str, output: str) -> int:
    """Return how many of the highest values of an output are wanted in its place; 0 for the output itself."""
    if CLASSIFICATION not in parameters:
        return 0
    classes = value_of(parameters[CLASSIFICATION])
    if not _is_whole(classes) or not 0 <= classes <= _MOST_CLASSES:
        raise InvalidInput.of(
            f"{at}.parameters", f"{CLASSIFICATION} of output '{output}' must be a whole number, 1 or more"
        )
    return classes


def _priority(value: Value) -> Level:
    if isinstance(value, str) and value.lower() in _NAMED:
        return _NAMED[value.lower()]
    if not _is_whole(value) or value < 0:
        names = ", ".join(_NAMED)
        raise InvalidInput.of(
            "parameters.priority",
            f"must be a whole number, 1 the highest and 0 the default, or one of {names}",
        )
    return _NUMBERED[value] if value < len(_NUMBERED) else Level.LOW


def _timeout_ms(value: Value) -> int:
    if not _is_whole(value) or value < 0:
        raise InvalidInput.of("parameters.timeout", "must be a whole number of microseconds, 0 for no limit")
    return -(-value // 1000)


def _sequence(value: Value) -> str:
    if isinstance(value, str):
        if len(value) > SEQUENCE_CHARACTERS:
            fault = f"must be at most {SEQUENCE_CHARACTERS} characters long, is {len(value)}"
            raise InvalidInput.of("parameters.sequence_id", fault)
        return value
    if not _is_whole(value):
        raise InvalidInput.of("parameters.sequence_id", "must be a whole number or a text")
    return str(value) if value else ""


def _kind(value: Value) -> str:
    # Known to this platform alone: where it is something else, it is left alone as other parameters are.
    return str(value)[:LONGEST_KIND] if isinstance(value, str) or _is_whole(value) else ""


def _cache(value: Value) -> CacheMode:
    if isinstance(value, str) and value.upper() in CacheMode.__members__:
        return CacheMode[value.upper()]
    raise InvalidInput.of(f"parameters.{CACHE}", f"must be one of {', '.join(CacheMode.__members__)}")


def _flag(values: Mapping[str, Value], name: str) -> bool:
    value = values.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput.of(f"parameters.{name}", "must be true or false")
    return value


def _is_whole(value: Value) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
