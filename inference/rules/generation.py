"""Rules for the fields of a generation. The gateway refuses by them what is submitted, the runner what it is sent.

Whether an input fits its model (context, vocabulary, chat template, a grammar that compiles) is the engine's to say.
Functions add (path relative to the task, fault) pairs to a list, so that a valid input costs no formatting at all.
"""

from math import isfinite

from forebay.tasks.v1 import inputs_pb2
from inference.rules.formats import format_fault
from inference.rules.limits import (
    MAX_BIAS,
    MAX_BIASES,
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_STOP_BYTES,
    MAX_STOP_TOKENS,
    MAX_STOPS,
    RANGES,
    ROLES,
)

Faults = list[tuple[str, str]]


def check_generate(generate: inputs_pb2.GenerateInput, faults: Faults) -> None:
    """Check every field of a generation."""
    kind = generate.WhichOneof("input")
    if kind is None:
        faults.append(("generate.input", "one of prompt and messages is required"))
    elif kind == "prompt":
        if not generate.prompt:
            faults.append(("generate.prompt", "must not be empty"))
    else:
        _check_messages(generate.messages, faults)
    for allowed in RANGES:
        field = allowed.field
        if generate.HasField(field) and not allowed.holds(number := getattr(generate, field)):  # type: ignore[arg-type]  # the table has the names of fields
            faults.append((f"generate.{field}", f"must be {allowed.rule}, is {_shown(number)}"))
    if generate.stop:
        _check_stops(generate, faults)
    if generate.stop_token_ids:
        _check_stop_tokens(generate, faults)
    if generate.logit_bias:
        _check_biases(generate, faults)
    if generate.HasField("response_format") and (fault := format_fault(generate.response_format)):
        faults.append((f"generate.response_format.{fault[0]}", fault[1]))


def _check_messages(messages: inputs_pb2.ChatMessages, faults: Faults) -> None:
    if not 1 <= len(messages.messages) <= MAX_MESSAGES:
        count = len(messages.messages)
        faults.append(("generate.messages.messages", f"must have 1 to {MAX_MESSAGES} messages, has {count}"))
        return
    for index, message in enumerate(messages.messages):
        path = f"generate.messages.messages[{index}]"
        if message.role not in ROLES:
            faults.append((f"{path}.role", f"must be one of {', '.join(ROLES)}"))
        if not 1 <= len(message.parts) <= MAX_PARTS:
            faults.append((f"{path}.parts", f"must have 1 to {MAX_PARTS} parts, has {len(message.parts)}"))
            continue
        for number, part in enumerate(message.parts):
            if part.WhichOneof("part") is None:
                faults.append((f"{path}.parts[{number}]", "must have content, for example text"))


def _check_stops(generate: inputs_pb2.GenerateInput, faults: Faults) -> None:
    if len(generate.stop) > MAX_STOPS:
        faults.append(("generate.stop", f"must have at most {MAX_STOPS} strings, has {len(generate.stop)}"))
        return
    for index, stop in enumerate(generate.stop):
        if not 1 <= len(stop.encode()) <= MAX_STOP_BYTES:
            faults.append((f"generate.stop[{index}]", f"must be 1 to {MAX_STOP_BYTES} bytes long"))


def _check_stop_tokens(generate: inputs_pb2.GenerateInput, faults: Faults) -> None:
    tokens = generate.stop_token_ids
    if len(tokens) > MAX_STOP_TOKENS:
        fault = f"must have at most {MAX_STOP_TOKENS} tokens, has {len(tokens)}"
        faults.append(("generate.stop_token_ids", fault))
        return
    for index, token in enumerate(tokens):
        if token < 0:
            faults.append((f"generate.stop_token_ids[{index}]", f"must be 0 or more, is {token}"))


def _check_biases(generate: inputs_pb2.GenerateInput, faults: Faults) -> None:
    biases = generate.logit_bias
    if len(biases) > MAX_BIASES:
        fault = f"must have at most {MAX_BIASES} entries, has {len(biases)}"
        faults.append(("generate.logit_bias", fault))
        return
    for token, bias in biases.items():
        if token < 0:
            faults.append(("generate.logit_bias", f"a key must be 0 or more, one is {token}"))
        if not -MAX_BIAS <= bias <= MAX_BIAS:
            fault = f"must be {-MAX_BIAS} to {MAX_BIAS}, is {_shown(bias)}"
            faults.append((f"generate.logit_bias[{token}]", fault))


def _shown(number: float) -> str:
    if isinstance(number, int):
        return str(number)
    return f"{number:g}" if isfinite(number) else "not a finite number"
