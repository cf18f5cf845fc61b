"""Pauses on the wire: rules for selectors, and both ways of conversion. Called by `queue_service.py`."""

from typing import Final

from forebay.queues.v1 import queue_service_pb2
from scheduler.errors import InvalidInput
from scheduler.ports.pauses import Pause, StandingPause
from scheduler.states import Level
from services.gateway import convert
from services.gateway.input_validation import Faults
from services.gateway.request_validation import MODEL_RULE, POOL_RULE, is_pool, refuse
from services.gateway.validation import MAX_LABEL_KEY, MAX_LABEL_VALUE, is_model

_MAX_REASON: Final = 255
_LEVELS: Final = frozenset(int(level) for level in Level)


def pause_of(selector: queue_service_pb2.PauseSelector) -> Pause:
    """Return the pause that a selector means. Raises InvalidInput for one that breaks a rule, or has no condition."""
    faults: Faults = []
    if selector.pool and not is_pool(selector.pool):
        faults.append(("selector.pool", POOL_RULE))
    if selector.priority and selector.priority not in _LEVELS:
        faults.append(("selector.priority", f"{selector.priority} is not a priority"))
    if selector.model and not is_model(selector.model):
        faults.append(("selector.model", MODEL_RULE))
    if len(selector.label_key) > MAX_LABEL_KEY:
        faults.append(("selector.label_key", f"must be at most {MAX_LABEL_KEY} characters long"))
    if len(selector.label_value) > MAX_LABEL_VALUE:
        faults.append(("selector.label_value", f"must be at most {MAX_LABEL_VALUE} characters long"))
    if selector.label_value and not selector.label_key:
        faults.append(("selector.label_key", "is required where there is a label_value"))
    if not selector.ByteSize():
        faults.append(("selector", "must have at least one condition"))
    refuse(faults)
    return Pause(selector.pool, selector.priority, selector.model, selector.label_key, selector.label_value)


def check_reason(reason: str) -> None:
    """Raise InvalidInput for a reason that is too long."""
    if len(reason) > _MAX_REASON:
        raise InvalidInput.of("reason", f"must be at most {_MAX_REASON} characters long")


def holds_whole(pause: Pause, pool: str, level: int) -> bool:
    """Whether a pause holds back everything of a queue."""
    partly = pause.model or pause.label_key
    return not partly and pause.pool in ("", pool) and pause.level in (0, level)


def shown(standing: StandingPause) -> queue_service_pb2.Pause:
    """Return a pause as it travels."""
    pause = standing.pause
    answer = queue_service_pb2.Pause(reason=standing.reason)
    selector = answer.selector
    selector.pool, selector.model = pause.pool, pause.model
    selector.priority = pause.level  # type: ignore[assignment]  # levels have the numbers of priorities
    selector.label_key, selector.label_value = pause.label_key, pause.label_value
    convert.stamp(answer.since, standing.since_ms)
    return answer


def named(pause: Pause) -> str:
    """Return a pause in words, for people."""
    level = Level(pause.level).label if pause.level else ""
    label = f"{pause.label_key}={pause.label_value}" if pause.label_key else ""
    parts = {"pool": pause.pool, "priority": level, "model": pause.model, "label": label}
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value)
