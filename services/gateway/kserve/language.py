"""Language models as models of tensors: a text goes in, and text comes out, whole or in pieces.

Names are those of Triton's backend for vLLM (https://github.com/triton-inference-server/vllm_backend): `text_input`,
`stream`, `exclude_input_in_output` and `sampling_parameters`, a JSON object; output `text_output`. What is in that
object can also be an input of its own or a parameter of the request; an input goes before the object, and that before
a parameter. `text_output` is what was generated; with `exclude_input_in_output` false the prompt comes in front of it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from forebay.compat.kserve.kserve_service_pb2 import ModelInferResponse
from forebay.tasks.v1 import inputs_pb2
from inference.rules import check_generate
from scheduler.errors import FieldFault, InvalidInput
from services.gateway.input_validation import Faults
from services.gateway.kserve.contents import Element, join
from services.gateway.kserve.parameters import Value
from services.gateway.kserve.port import Port
from services.gateway.validation import MAX_FAULTS

TEXT_INPUT: Final = "text_input"
STREAM: Final = "stream"
EXCLUDE_INPUT: Final = "exclude_input_in_output"
SAMPLING: Final = "sampling_parameters"
TEXT_OUTPUT: Final = "text_output"
FINISH_REASON: Final = "finish_reason"
SAMPLING_BYTES: Final = 64 << 10

_ONE: Final = (1,)
_SETTINGS: Final = {
    "max_tokens": "INT32",
    "temperature": "FP32",
    "top_p": "FP32",
    "top_k": "INT32",
    "min_p": "FP32",
    "seed": "UINT64",
    "presence_penalty": "FP32",
    "frequency_penalty": "FP32",
    "repetition_penalty": "FP32",
    "ignore_eos": "BOOL",
    "n": "INT32",
    "stop": "BYTES",
}
"""Fields of GenerateInput that clients set, with the datatype that they have as inputs."""
INPUTS: Final = (
    Port(TEXT_INPUT, "BYTES", _ONE),
    Port(STREAM, "BOOL", _ONE, optional=True),
    Port(SAMPLING, "BYTES", _ONE, optional=True),
    Port(EXCLUDE_INPUT, "BOOL", _ONE, optional=True),
    *(
        Port(name, datatype, (-1,) if datatype == "BYTES" else _ONE, optional=True)
        for name, datatype in _SETTINGS.items()
    ),
)
OUTPUTS: Final = (Port(TEXT_OUTPUT, "BYTES", (-1,)), Port(FINISH_REASON, "BYTES", (-1,)))
_REASONS: Final = {
    inputs_pb2.FINISH_REASON_STOP: b"stop",
    inputs_pb2.FINISH_REASON_LENGTH: b"length",
    inputs_pb2.FINISH_REASON_ABORTED: b"aborted",
}


class Prompt(NamedTuple):
    """What a request asks a language model for."""

    generate: inputs_pb2.GenerateInput
    stream: bool
    """Whether text shall come as it is generated."""
    before: bytes
    """What the text of the answer begins with."""


def prompt_of(values: Mapping[str, Sequence[Element]], parameters: Mapping[str, Value]) -> Prompt:
    """Return what the values of a request's inputs, and its parameters, ask for. Raises InvalidInput with every fault
    found.
    """
    message = inputs_pb2.GenerateInput()
    faults: Faults = []
    text = values[TEXT_INPUT][0]
    assert isinstance(text, bytes), "its datatype was checked"
    try:
        message.prompt = text.decode()
    except ValueError:
        faults.append((TEXT_INPUT, "must be UTF-8"))
    given: dict[str, object] = {name: value for name, value in parameters.items() if name in _SETTINGS}
    if SAMPLING in values:
        given |= _sampling(values[SAMPLING][0], faults)
    elif SAMPLING in parameters:
        given |= _sampling(parameters[SAMPLING], faults)
    for name in _SETTINGS:
        if name in values:
            given[name] = list(values[name]) if name == "stop" else values[name][0]
    for name, value in given.items():
        _set(message, name, value, faults)
    stream = _flag(STREAM, False, values, parameters, faults)
    exclude = _flag(EXCLUDE_INPUT, True, values, parameters, faults)
    if stream and not exclude:
        faults.append((EXCLUDE_INPUT, "cannot be false for text that comes in pieces"))
    if stream and message.n > 1:
        faults.append(("n", "must be 1 for text that comes in pieces"))
    if not faults:
        check_generate(message, faults)
    if faults:
        raise InvalidInput([FieldFault(_place(path), fault) for path, fault in faults[:MAX_FAULTS]])
    return Prompt(message, stream, b"" if exclude else text)


def write_text(
    response: ModelInferResponse, output: inputs_pb2.GenerateOutput, before: bytes, wanted: Sequence[str]
) -> None:
    """Write an answer, or a piece of one: the `wanted` outputs, the text alone when there are none."""
    others = output.others
    for name in wanted or (TEXT_OUTPUT,):
        if name == TEXT_OUTPUT:
            elements = [before + text.encode() for text in (output.text, *(each.text for each in others))]
        else:
            reasons = (output.finish_reason, *(each.finish_reason for each in others))
            elements = [_REASONS.get(reason, b"") for reason in reasons]
        response.outputs.add(name=name, datatype="BYTES", shape=(len(elements),))
        response.raw_output_contents.append(join(elements))


def _place(path: str) -> str:
    """Return where a client finds what a fault of a generation is about."""
    name = path.removeprefix("generate.")
    return TEXT_INPUT if name == "prompt" else name


def _sampling(given: object, faults: Faults) -> dict[str, object]:
    """Read the JSON object of sampling parameters."""
    if not isinstance(given, bytes | str) or len(given) > SAMPLING_BYTES:
        faults.append((SAMPLING, f"must be a JSON object of at most {SAMPLING_BYTES} bytes"))
        return {}
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        faults.append((SAMPLING, "must be a JSON object"))
        return {}
    for name in sorted(found.keys() - _SETTINGS.keys()):
        faults.append((SAMPLING, f"{name[:64]!r} is not known; there is {', '.join(_SETTINGS)}"))
    return {name: value for name, value in found.items() if name in _SETTINGS}


def _set(message: inputs_pb2.GenerateInput, name: str, value: object, faults: Faults) -> None:
    """Write one setting, from whichever place and type it comes in: numbers may be texts there."""
    datatype = _SETTINGS[name]
    try:
        if name == "stop":
            stops: list[Any] = value if isinstance(value, list) else [value]
            message.stop.extend(stops)
        elif datatype == "BOOL":
            setattr(message, name, _truth(value))
        elif isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        elif datatype == "FP32":
            setattr(message, name, float(value))
        else:
            setattr(message, name, int(value) if isinstance(value, str) else value)
    except (TypeError, ValueError):
        wanted = {"BOOL": "true or false", "FP32": "a number", "BYTES": "a text, or a list of them"}
        faults.append((name, f"must be {wanted.get(datatype, f'a whole number that {datatype} can hold')}"))


def _flag(
    name: str,
    default: bool,
    values: Mapping[str, Sequence[Element]],
    parameters: Mapping[str, Value],
    faults: Faults,
) -> bool:
    try:
        return _truth(values[name][0] if name in values else parameters.get(name, default))
    except ValueError:
        faults.append((name, "must be true or false"))
        return default


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError
