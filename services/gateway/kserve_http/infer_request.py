"""The body of an inference: JSON, and behind it the elements of those inputs that come as binary data.

How many bytes are JSON is in the header Inference-Header-Content-Length; without it, all of them. The body becomes the
protocol's own message, and what concerns the form of the answer stays here.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from forebay.compat.kserve.kserve_service_pb2 import ModelInferRequest
from services.gateway.kserve_http.elements import MAX_RANK, Elements
from services.gateway.kserve_http.messages import fill_parameters, is_unicode
from services.gateway.kserve_http.refusals import BadBody, TooLarge

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
MAX_JSON_BYTES: Final = 16 << 20
"""Read in one go, during which nothing else is done: some 200 ms for so many."""
MAX_ELEMENT_BYTES: Final = 64 << 20
"""Of all inputs: a short number in JSON may be a long one in a tensor."""
_NOT_FINITE: Final = re.compile(rb"\b(?:NaN|Infinity)\b")

_Dimension = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62))]
_Shape = Annotated[list[_Dimension], msgspec.Meta(max_length=MAX_RANK)]


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Input(msgspec.Struct):
    name: str
    datatype: str
    shape: _Shape
    parameters: dict[str, Any] = {}
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Request(msgspec.Struct):
    inputs: list[_Input]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


class _LooseInput(_Input):
    data: Any = msgspec.UNSET
    """A value that was read already."""


class _LooseRequest(_Request):
    inputs: list[_LooseInput]  # type: ignore[assignment]  # only ever read


_DECODER: Final = msgspec.json.Decoder(_Request)


@dataclass(frozen=True, slots=True)
class Form:
    """How the answer is wanted."""

    binary: bool = False
    """Whether outputs come as binary data of which nothing else is said."""
    by_output: Mapping[str, bool] | None = None

    def is_binary(self, output: str) -> bool:
        """Whether an output comes as binary data."""
        return (self.by_output or {}).get(output, self.binary)


def read_request(body: bytes, header_length: str | None) -> tuple[ModelInferRequest, Form]:
    """Return the message without the model's name, and the form of the answer. Raises BadBody, TooLarge."""
    length = json_length(header_length, len(body))
    view = memoryview(body)
    asked = _decode(view[:length])
    request = ModelInferRequest(id=_text(asked.id, "id"))
    parameters = dict(asked.parameters)
    binary = _flag(parameters.pop("binary_data_output", False), "binary_data_output")
    fill_parameters(parameters, request.parameters, "parameters")
    at, left = length, MAX_ELEMENT_BYTES
    for index, given in enumerate(asked.inputs):
        what = f"inputs[{index}]"
        tensor = request.inputs.add(
            name=_text(given.name, what), datatype=_text(given.datatype, what), shape=given.shape
        )
        own = dict(given.parameters)
        size = own.pop("binary_data_size", None)
        fill_parameters(own, tensor.parameters, f"{what}.parameters")
        if size is not None:
            end = at + _checked_size(size, given, len(view) - at, what)
            raw = bytes(view[at:end])
            at = end
        elif given.data is not msgspec.UNSET:
            elements = Elements(None, given.data) if isinstance(given, _LooseInput) else Elements(given.data)
            raw = elements.to_bytes(given.datatype, given.shape, f"input {given.name[:80]!r}")
        elif _is_elsewhere(own):
            continue
        else:
            raise BadBody(f"{what} has neither data nor binary_data_size")
        left -= len(raw)
        if left < 0:
            raise TooLarge(f"the elements of all inputs may have {MAX_ELEMENT_BYTES} bytes")
        request.raw_input_contents.append(raw)
    if at != len(body):
        raise BadBody(f"{len(body) - at} bytes follow the binary data of the inputs")
    return request, _form(request, asked.outputs, binary)


def json_length(header: str | None, body_bytes: int) -> int:
    """Return how many bytes of a body are JSON. Raises BadBody, TooLarge."""
    length = body_bytes
    if header is not None:
        text = header.strip()
        if not (text.isascii() and text.isdigit() and len(text) < 19) or int(text) > body_bytes:
            raise BadBody(f"{HEADER_LENGTH} must be the length of the JSON part, at most {body_bytes} here")
        length = int(text)
    if length > MAX_JSON_BYTES:
        raise TooLarge(f"{length} bytes of JSON are more than {MAX_JSON_BYTES}: send elements as binary data")
    return length


def decode_object(text: bytes | memoryview, wanted: Any) -> Any:
    """Return JSON decoded as a type. Raises BadBody."""
    try:
        return msgspec.json.decode(text, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(_fault(error))


def _decode(text: memoryview) -> _Request | _LooseRequest:
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise BadBody(_fault(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # What is no JSON, but what clients write for such numbers.
        if _NOT_FINITE.search(text) is None:
            raise BadBody(_fault(error))
    try:
        return msgspec.convert(json.loads(bytes(text)), _LooseRequest)
    except (ValueError, RecursionError) as error:
        raise BadBody(_fault(error))


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    if isinstance(error, msgspec.ValidationError):
        return f"the request is not as the protocol says: {error}"
    return f"the body is not JSON: {error}"[:300]


def _checked_size(size: Any, given: _Input, left: int, what: str) -> int:
    """Return how many bytes of binary data an input has, of those that are left."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise BadBody(f"{what}.parameters.binary_data_size must be a whole number, 0 or more")
    if given.data is not msgspec.UNSET:
        raise BadBody(f"{what} has both data and binary_data_size")
    if size > left:
        raise BadBody(f"{what} says {size} bytes of binary data, but there are {left} left")
    return size


def _form(request: ModelInferRequest, outputs: Collection[_Output], binary: bool) -> Form:
    by_output = {}
    for index, wanted in enumerate(outputs):
        what = f"outputs[{index}]"
        output = request.outputs.add(name=_text(wanted.name, what))
        own = dict(wanted.parameters)
        by_output[wanted.name] = _flag(own.pop("binary_data", binary), f"{what}.parameters.binary_data")
        fill_parameters(own, output.parameters, f"{what}.parameters")
    return Form(binary, by_output)


def _is_elsewhere(parameters: Collection[str]) -> bool:
    """Whether the elements are said to be in shared memory, which is refused with all that is about it, later."""
    return any(name.startswith("shared_memory_") for name in parameters)


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise BadBody(f"{what} must be true or false")
    return value


def _text(text: str, what: str) -> str:
    if not is_unicode(text):
        raise BadBody(f"{what} has text that is not Unicode")
    return text
