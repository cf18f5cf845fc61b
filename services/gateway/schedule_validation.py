"""Rules for the fields of schedules. What they refuse becomes BadRequest with field paths."""

import re
from collections.abc import Collection
from typing import Final

from forebay.tasks.v1 import schedule_service_pb2
from scheduler.errors import InvalidInput
from services.due_times import recurrence_of
from services.gateway.input_validation import Faults
from services.gateway.request_validation import refuse
from services.gateway.validation import MAX_TASK_BYTES, spec_faults
from services.gateway.waiting_validation import check_duration

MAX_REQUEST_ID: Final = 200
_LEAST_INTERVAL_S: Final = 1
_MOST_INTERVAL_S: Final = 366 * 86_400
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_NAME_RULE: Final = "must be 1 to 128 letters, digits, '.', '_' or '-'"
_NOT_IN_SPEC: Final = ("not_before", "deadline", "idempotency_key", "depends_on", "inputs_from")
_MISSED: Final = frozenset(schedule_service_pb2.MissedPolicy.values())


def check_schedule(schedule: schedule_service_pb2.Schedule, pools: Collection[str], now_ms: int) -> None:
    """Raise InvalidInput unless a schedule can be made as it is."""
    faults: Faults = []
    if not _NAME.fullmatch(schedule.name):
        faults.append(("name", _NAME_RULE))
    if not schedule.HasField("spec"):
        faults.append(("spec", "is required"))
    else:
        _check_spec(schedule, pools, faults)
    if schedule.missed not in _MISSED:
        faults.append(("missed", f"{schedule.missed} is not a policy"))
    if schedule.HasField("run_within"):
        check_duration(schedule.run_within, "run_within", 0.001, _MOST_INTERVAL_S, faults)
    _check_timing(schedule, now_ms, faults)
    refuse([(f"schedule.{field}", fault) for field, fault in faults])


def check_name(name: str) -> None:
    """Raise InvalidInput unless this can be the name of a schedule."""
    if not _NAME.fullmatch(name):
        raise InvalidInput.of("name", _NAME_RULE if name else f"is required and {_NAME_RULE}")


def _check_spec(schedule: schedule_service_pb2.Schedule, pools: Collection[str], faults: Faults) -> None:
    spec = schedule.spec
    given = {field.name for field, _ in spec.ListFields()}
    for name in _NOT_IN_SPEC:
        if name in given:
            hint = "; use run_within" if name == "deadline" else ""
            faults.append((f"spec.{name}", f"must not be set{hint}"))
    faults += [(f"spec.{field}", fault) for field, fault in spec_faults(spec, pools, dependent=False)]
    if spec.ByteSize() > MAX_TASK_BYTES:
        faults.append(("spec", f"must be at most {MAX_TASK_BYTES} bytes long, is {spec.ByteSize()}"))


def _check_timing(schedule: schedule_service_pb2.Schedule, now_ms: int, faults: Faults) -> None:
    timing = schedule.WhichOneof("timing")
    if timing is None:
        faults.append(("timing", "one of cron and interval is required"))
        return
    if timing == "cron" and not schedule.cron:
        faults.append(("cron", "must not be empty"))
        return
    if timing == "interval":
        before = len(faults)
        check_duration(schedule.interval, "interval", _LEAST_INTERVAL_S, _MOST_INTERVAL_S, faults)
        if len(faults) > before:
            return
    try:
        due_ms = recurrence_of(schedule, now_ms).after(now_ms)
    except ValueError as error:
        field = "time_zone" if "time zone" in str(error) else timing
        faults.append((field, str(error)))
        return
    if not due_ms:
        faults.append((timing, "is never due"))
