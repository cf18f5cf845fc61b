"""What users ask of a language model, turned into a GenerateInput."""

import json
from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

from forebay.tasks.v1.inputs_pb2 import (
    ChatMessage,
    ChatMessages,
    ContentPart,
    GenerateInput,
    JsonObject,
    PlainText,
    ResponseFormat,
)

_FORMATS: Final = ("json_schema", "regex", "grammar")


class GenerateOptions(TypedDict, total=False):
    """What a generation may be given. Exactly one of `prompt` and `messages` is required."""

    prompt: str
    """Text that a language model continues as it stands, without its chat template."""
    messages: Sequence[Mapping[str, object]]
    """A chat: `[{"role": "user", "content": "Hello"}]`; content is a text or a list of text parts."""

    max_tokens: int
    """Most tokens generated. The server's default is 256."""
    temperature: float
    """0 (the default: always the most probable token) to 2."""
    top_p: float
    top_k: int
    min_p: float
    seed: int
    """Same seed, prompt and model give the same text."""
    stop: Sequence[str]
    """Generation ends before the first of these."""
    stop_token_ids: Sequence[int]
    """Generation ends with any of these tokens."""
    ignore_eos: bool
    """Go on when the model says that it has finished."""
    presence_penalty: float
    """-2 to 2: taken off the logits of tokens that were generated."""
    frequency_penalty: float
    """-2 to 2: taken off the logits of tokens for each time that they were generated."""
    repetition_penalty: float
    """Over 0, at most 2, default 1: divides the logits of tokens of prompt and answer."""
    logit_bias: Mapping[int, float]
    """-100 to 100 by token id: added to the logits."""
    logprobs: int
    """Return logprobs of the tokens, and of so many of the most probable ones: 0 to 20. Default: none."""
    n: int
    """Independent answers: 1 (the default) to 16. The first is where a single one would be, the rest in `others`."""
    response_format: str | Mapping[str, object]
    """What the text must look like: `"json_object"`, `{"json_schema": {…}}`, `{"regex": "[a-z]+"}` or
    `{"grammar": "start: …"}` (Lark). Formats of OpenAI's API, `{"type": "json_schema", …}`, are taken too."""


def generate_input(options: GenerateOptions) -> GenerateInput:
    """Build the input. Raises TypeError and ValueError for what cannot be written."""
    for name in ("stop", "stop_token_ids"):
        if isinstance(options.get(name), str):
            raise TypeError(f"{name} takes a list")
    given = GenerateInput(
        max_tokens=options.get("max_tokens"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        top_k=options.get("top_k"),
        min_p=options.get("min_p"),
        seed=options.get("seed"),
        stop=options.get("stop", ()),
        stop_token_ids=options.get("stop_token_ids", ()),
        ignore_eos=options.get("ignore_eos", False),
        presence_penalty=options.get("presence_penalty"),
        frequency_penalty=options.get("frequency_penalty"),
        repetition_penalty=options.get("repetition_penalty"),
        logit_bias=options.get("logit_bias"),
        logprobs=options.get("logprobs"),
        n=options.get("n"),
    )
    if "response_format" in options:
        given.response_format.CopyFrom(_response_format(options["response_format"]))
    if "messages" in options:
        chat = ChatMessages(messages=[_message(message) for message in options["messages"]])
        given.messages.CopyFrom(chat)
    else:
        given.prompt = options["prompt"]
    return given


def _response_format(given: str | Mapping[str, object]) -> ResponseFormat:
    if isinstance(given, Mapping) and "type" in given:
        given = _of_openai(given)
    if given == "text":
        return ResponseFormat(text=PlainText())
    if given == "json_object":
        return ResponseFormat(json_object=JsonObject())
    kinds = list(given) if isinstance(given, Mapping) else []
    if len(kinds) != 1 or kinds[0] not in _FORMATS:
        raise TypeError(
            'response_format takes "text", "json_object", or one of json_schema, regex and grammar by its name'
        )
    kind, definition = kinds[0], given[kinds[0]]  # type: ignore[index]  # a mapping: it has kinds
    if kind == "json_schema" and not isinstance(definition, str):
        definition = json.dumps(definition, ensure_ascii=False, allow_nan=False)
    if not isinstance(definition, str):
        raise TypeError(f"{kind} takes a text")
    return ResponseFormat(**{kind: definition})  # type: ignore[arg-type]


def _of_openai(given: Mapping[str, object]) -> str | Mapping[str, object]:
    """Read a format as OpenAI's API has it: the schema is inside, beside a name that says nothing to a model."""
    kind = given["type"]
    if kind != "json_schema":
        return str(kind)
    inside = given.get("json_schema")
    if not isinstance(inside, Mapping) or "schema" not in inside:
        raise TypeError('a response_format of type json_schema takes {"json_schema": {"schema": …}}')
    return {"json_schema": inside["schema"]}


def _message(message: Mapping[str, object]) -> ChatMessage:
    role, content = message.get("role"), message.get("content")
    parts = [content] if isinstance(content, str) else content
    if not isinstance(role, str) or not isinstance(parts, Sequence):
        raise TypeError("a message takes a role and a content: a text, or a list of text parts")
    return ChatMessage(role=role, parts=[ContentPart(text=_part(part)) for part in parts])


def _part(part: object) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(text, str):
        raise TypeError('a part of a message is a text, or {"type": "text", "text": …}')
    return text
