"""What can be wrong with the fields of a request by themselves.

Whoever submits through a gateway has most of it checked there, by the same limits; the engine does not rely on that.
"""

from inference.engine import GenerateRequest
from inference.rules.limits import (
    MAX_BIAS,
    MAX_BIASES,
    MAX_STOP_TOKENS,
    MAX_STOPS,
    RANGES,
)
from scheduler.errors import FieldFault


def faults_of(request: GenerateRequest, vocabulary: int) -> list[FieldFault]:
    """Return every fault, empty when there is none. NaN is one wherever a number is expected."""
    faults: list[FieldFault] = []

    def check(holds: bool, field: str, rule: str) -> None:
        if not holds:
            faults.append(FieldFault(f"generate.{field}", rule))

    one = (request.prompt is None) != (not request.messages)
    check(one, "input", "exactly one of prompt and messages is needed")
    for allowed in RANGES:
        number = getattr(request, allowed.field)
        check(number is None or allowed.holds(number), allowed.field, f"must be {allowed.rule}, is {number}")
    check(request.seed is None or 0 <= request.seed < 1 << 64, "seed", "must be from 0 to 2^64 - 1")
    count = len(request.stop)
    check(count <= MAX_STOPS, "stop", f"has {count} strings, at most {MAX_STOPS} are taken")
    for index, stop in enumerate(request.stop):
        check(bool(stop), f"stop[{index}]", "must not be empty")
    known = f"tokens 0 to {vocabulary - 1}"
    check(
        len(request.logit_bias) <= MAX_BIASES
        and all(0 <= token < vocabulary for token in request.logit_bias)
        and all(-MAX_BIAS <= bias <= MAX_BIAS for bias in request.logit_bias.values()),
        "logit_bias",
        f"takes at most {MAX_BIASES} values from {-MAX_BIAS} to {MAX_BIAS} for {known}",
    )
    check(
        len(request.stop_token_ids) <= MAX_STOP_TOKENS
        and all(0 <= token < vocabulary for token in request.stop_token_ids),
        "stop_token_ids",
        f"takes at most {MAX_STOP_TOKENS} of {known}",
    )
    return faults
