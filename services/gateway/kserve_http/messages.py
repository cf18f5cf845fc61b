"""Messages of the protocol as JSON. Protobuf's own mapping would not do: it makes texts of whole numbers of 64 bits."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from forebay.compat.kserve.kserve_service_pb2 import InferParameter
from services.gateway.kserve_http.refusals import BadBody

_MESSAGE = FieldDescriptor.TYPE_MESSAGE
_ENUM = FieldDescriptor.TYPE_ENUM
_BYTES = FieldDescriptor.TYPE_BYTES
_INT64 = 1 << 63


def plain(message: Message) -> dict[str, Any]:
    """Return a message as a dictionary: every field that holds one value, whether it was set or not, and of the rest
    what there is. Enums are their names.
    """
    found: dict[str, Any] = {}
    fields: Sequence[Any] = message.DESCRIPTOR.fields
    for field in fields:
        value = getattr(message, field.name)
        if field.is_repeated:
            if _is_map(field):
                found[field.name] = {
                    str(key): _one(field.message_type.fields[1], value[key]) for key in value
                }
            else:
                found[field.name] = [_one(field, each) for each in value]
        elif not field.has_presence or message.HasField(field.name):
            found[field.name] = _one(field, value)
    return found


def fill_parameters(wanted: Mapping[str, Any], parameters: Any, at: str) -> None:
    """Write parameters from JSON into a map of a message. Raises BadBody."""
    for name, value in wanted.items():
        if not is_unicode(name) or (isinstance(value, str) and not is_unicode(value)):
            raise BadBody(f"{at} has text that is not Unicode")
        parameter: InferParameter = parameters[name]
        if isinstance(value, bool):
            parameter.bool_param = value
        elif isinstance(value, int) and -_INT64 <= value < 2 * _INT64:
            if value < _INT64:
                parameter.int64_param = value
            else:
                parameter.uint64_param = value
        elif isinstance(value, float):
            parameter.double_param = value
        elif isinstance(value, str):
            parameter.string_param = value
        else:
            raise BadBody(f"{at}.{name[:80]} must be a truth value, a number or a text")


def parameters_of(parameters: Mapping[str, InferParameter]) -> dict[str, Any]:
    """Return parameters for JSON."""
    found = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def is_unicode(text: str) -> bool:
    """Whether a message can hold a text: readers of JSON may let half a surrogate pair pass."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _one(field: Any, value: Any) -> Any:
    if field.type == _MESSAGE:
        return plain(value)
    if field.type == _ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    if field.type == _BYTES:
        return value.decode("latin-1")
    return value


def _is_map(field: Any) -> bool:
    return field.type == _MESSAGE and bool(field.message_type.GetOptions().map_entry)
