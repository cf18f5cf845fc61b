"""From the contract's messages to questions: every field that can change an answer, or its default where it is absent.

The requests have passed the checks of the contract: what those refuse is not looked for here again. Doors with requests
of their own look at these with `has_unread_fields` themselves. For each field of the messages
tests/unit/cache/key/decisions.py says whether a question has it: a new one must be decided on.
"""

from collections.abc import Iterable
from dataclasses import replace

from google.protobuf.message import Message as ProtobufMessage
from google.protobuf.unknown_fields import UnknownFieldSet

from cache.key.question import (
    DEFAULT_MAX_TOKENS,
    GREEDY_BELOW,
    Asked,
    EmbedQuestion,
    GenerateQuestion,
    Message,
    Tensor,
    TensorQuestion,
    WantedOutput,
)
from forebay.tasks.v1 import inputs_pb2, task_pb2


def task_question(spec: task_pb2.TaskSpec) -> Asked:
    """Return what a task asks, whose parents' outputs are in place. Raises ValueError when it has no input."""
    kind = spec.WhichOneof("input")
    asked: Asked
    if kind == "generate":
        asked = generate_question(spec.generate)
    elif kind == "tensors":
        asked = tensor_question(spec.tensors)
    elif kind == "embed":
        asked = embed_question(spec.embed)
    else:
        raise ValueError("the task has no input")
    return replace(asked, unread=True) if has_unread_fields(spec) else asked


def generate_question(message: inputs_pb2.GenerateInput) -> GenerateQuestion:
    """Return what a generation asks."""
    given = message.HasField
    temperature = message.temperature
    greedy = temperature < GREEDY_BELOW
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    unread = has_unread_fields(message)
    if message.WhichOneof("input") == "messages":
        messages, unread_in_chat = _read_chat(message.messages)
        unread = unread or unread_in_chat
    else:
        prompt = message.prompt
    formatted = given("response_format")
    if formatted:
        unread = unread or _unread_in_format(message.response_format)
    return GenerateQuestion(
        prompt=prompt,
        messages=messages,
        max_tokens=message.max_tokens if given("max_tokens") else DEFAULT_MAX_TOKENS,
        temperature=0.0 if greedy else temperature,
        top_p=message.top_p if not greedy and given("top_p") else 1.0,
        top_k=0 if greedy else message.top_k,
        min_p=0.0 if greedy else message.min_p,
        seed=message.seed if not greedy and given("seed") else None,
        stop=tuple(sorted(set(message.stop))) if message.stop else (),
        ignore_eos=message.ignore_eos,
        presence_penalty=message.presence_penalty,
        frequency_penalty=message.frequency_penalty,
        repetition_penalty=message.repetition_penalty if given("repetition_penalty") else 1.0,
        logit_bias=tuple(sorted(message.logit_bias.items())) if message.logit_bias else (),
        logprobs=message.logprobs if given("logprobs") else None,
        stop_token_ids=tuple(sorted(set(message.stop_token_ids))) if message.stop_token_ids else (),
        n=message.n if given("n") else 1,
        format=_format_of(message.response_format) if formatted else None,
        unread=unread,
    )


def tensor_question(
    message: inputs_pb2.TensorInput,
    outputs: Iterable[tuple[str, int]] = (),
    *,
    in_sequence: bool = False,
) -> TensorQuestion:
    """Return what is asked of a model with tensors; `outputs` are names of those that are wanted, and how many of the
    highest values of each row, 0 for the tensor itself.
    """
    tensors = [Tensor(one.name, one.datatype, tuple(one.shape), one.raw) for one in message.tensors]
    tensors.sort(key=lambda tensor: tensor.name)
    return TensorQuestion(
        tuple(tensors),
        tuple([WantedOutput(name, classes) for name, classes in outputs]),
        in_sequence,
        unread=has_unread_fields(message) or any(map(has_unread_fields, message.tensors)),
    )


def embed_question(message: inputs_pb2.EmbedInput) -> EmbedQuestion:
    """Return what an embedding asks."""
    normalize = message.normalize if message.HasField("normalize") else True
    return EmbedQuestion(tuple(message.texts), normalize, unread=has_unread_fields(message))


def has_unread_fields(message: ProtobufMessage) -> bool:
    """Whether a message, but for those inside it, has fields that this version of the contract does not."""
    return len(UnknownFieldSet(message)) > 0


def _read_chat(chat: inputs_pb2.ChatMessages) -> tuple[tuple[Message, ...], bool]:
    """Return the messages of a chat, and whether it has fields that are not read. In one pass: chats are long."""
    messages: list[Message] = []
    unread = len(UnknownFieldSet(chat))
    for one in chat.messages:
        texts: list[str] = []
        for part in one.parts:
            unread += len(UnknownFieldSet(part))
            texts.append(part.text)
        unread += len(UnknownFieldSet(one))
        messages.append(Message(one.role, "".join(texts)))
    return tuple(messages), unread > 0


def _format_of(given: inputs_pb2.ResponseFormat) -> tuple[str, str] | None:
    kind = given.WhichOneof("format")
    if kind is None or kind == "text":
        return None
    return kind, "" if kind == "json_object" else getattr(given, kind)


def _unread_in_format(given: inputs_pb2.ResponseFormat) -> bool:
    kind = given.WhichOneof("format")
    return has_unread_fields(given) or (
        kind in ("text", "json_object") and has_unread_fields(getattr(given, kind))
    )
