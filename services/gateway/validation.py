"""Rules for every field of a TaskSpec. What they refuse becomes BadRequest with field paths.

A valid task of a few small tensors costs about 3 µs: the rules run for each of up to 1000 tasks of a call. What few
tasks have (times, retries, parents) is checked in `waiting_validation.py`; requests in `request_validation.py`.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from forebay.tasks.v1 import task_pb2
from inference.rules import check_embed, check_generate
from scheduler.errors import FieldFault, InvalidInput
from services.gateway.input_validation import Faults, check_tensors
from services.gateway.waiting_validation import (
    check_dependencies,
    check_references,
    check_retry,
    check_time,
)

MAX_TASKS: Final = 1000
MAX_TASK_BYTES: Final = 1 << 20
MAX_KEY: Final = 256
MAX_LABELS: Final = 32
MAX_LABEL_KEY: Final = 63
MAX_LABEL_VALUE: Final = 255
MAX_FAULTS: Final = 32
"""Faults shown of one task or request: an answer stays small however bad the request is."""

MODEL_RULE: Final = (
    "must be 1 to 128 letters, digits, '.', '_' or '-', with '@' and a version behind them for one"
)

_MODEL: Final = re.compile(r"[A-Za-z0-9._-]{1,128}(@[1-9][0-9]{0,17})?")
_INPUT_REQUIRED: Final = "one of generate, tensors and embed is required"


def spec_faults(spec: task_pb2.TaskSpec, pools: Collection[str], *, dependent: bool) -> Faults:
    """Return what is wrong with a task, as (path relative to it, fault); nothing for a valid one.

    `dependent` says whether it has parents: the caller knows, and asking a message is what costs most here.
    """
    faults: Faults = []
    if not is_model(spec.model):
        faults.append(("model", MODEL_RULE if spec.model else f"is required and {MODEL_RULE}"))
    kind = spec.WhichOneof("input")
    if kind == "tensors":
        check_tensors(spec.tensors, faults)
        if faults and spec.inputs_from and not spec.tensors.tensors:
            # None is given where all come from parents: this is what was found wrong last.
            faults.pop()
    elif kind == "generate":
        check_generate(spec.generate, faults)
    elif kind == "embed":
        check_embed(spec.embed, faults)
    else:
        faults.append(("input", _INPUT_REQUIRED))
    if not 0 <= spec.priority <= 4:
        faults.append(("priority", f"{spec.priority} is not a priority"))
    if spec.pool and spec.pool not in pools:
        faults.append(("pool", f"there is no such pool; there is {', '.join(sorted(pools))}"))
    if spec.HasField("deadline"):
        check_time(spec.deadline, "deadline", faults)
    if spec.HasField("not_before"):
        check_time(spec.not_before, "not_before", faults)
    if spec.HasField("retry"):
        check_retry(spec.retry, faults)
    if dependent or spec.inputs_from:
        check_dependencies(spec, faults)
        check_references(spec, faults)
    if not 0 <= spec.on_parent_failure <= 3:
        faults.append(("on_parent_failure", f"{spec.on_parent_failure} is not a policy"))
    if not 0 <= spec.cache <= 4:
        faults.append(("cache", f"{spec.cache} is not a mode"))
    if len(spec.idempotency_key) > MAX_KEY:
        faults.append(("idempotency_key", f"must be at most {MAX_KEY} characters long"))
    if spec.labels:
        check_labels(spec.labels, "labels", faults)
    return faults


def invalid_spec(index: int, faults: Faults) -> InvalidInput:
    """Return the error of one task of a call."""
    shown = faults[:MAX_FAULTS]
    return InvalidInput([FieldFault(f"tasks[{index}].{field}".rstrip("."), fault) for field, fault in shown])


@lru_cache(maxsize=4096)
def is_model(name: str) -> bool:
    """Whether this can be the name of a model, with or without a version."""
    return _MODEL.fullmatch(name) is not None


def check_labels(labels: Mapping[str, str], path: str, faults: Faults) -> None:
    """Check labels of a task or a filter."""
    if len(labels) > MAX_LABELS:
        faults.append((path, f"must be at most {MAX_LABELS}, are {len(labels)}"))
        return
    for key, value in labels.items():
        if not 1 <= len(key) <= MAX_LABEL_KEY:
            faults.append((path, f"a key must be 1 to {MAX_LABEL_KEY} characters long, one has {len(key)}"))
        elif len(value) > MAX_LABEL_VALUE:
            fault = f"must be at most {MAX_LABEL_VALUE} characters long, is {len(value)}"
            faults.append((f'{path}["{key}"]', fault))
