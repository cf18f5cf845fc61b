"""Puts outputs of parents into the input of a task. No I/O.

Texts replace placeholders written {{name}}, in one pass: what a parent wrote is never searched for placeholders.
Tensors are added under the name of the input. A text goes into texts only, a tensor into tensors only.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

from google.protobuf.message import DecodeError

from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.inputs_pb2 import GenerateInput, Tensor, TensorInput
from forebay.tasks.v1.task_pb2 import InputReference, Result, TaskSpec
from scheduler.errors import ParentOutputUnusable

MAX_SPEC_BYTES: Final = 1 << 20
"""Most bytes of a serialised TaskSpec, as for one that is submitted."""
TEXT: Final = "text"
"""Name of the output of a generation."""


def wanted_parents(envelope: Envelope) -> list[str]:
    """Return the parents whose outputs the task takes, each once. Raises ParentOutputUnusable."""
    return list(dict.fromkeys(_parent(envelope, reference) for reference in _spec(envelope).inputs_from))


def with_outputs(envelope: Envelope, results: Mapping[str, bytes]) -> bytes:
    """Return the serialised envelope with the outputs in its spec, under the next revision.

    `results` has a serialised Result by parent; a parent that is absent, or has an empty one, left none. Raises
    ParentOutputUnusable, with the parent in its message and nothing of what it wrote.
    """
    spec = _spec(envelope)
    texts: dict[str, str] = {}
    tensors: list[Tensor] = []
    for reference in spec.inputs_from:
        parent = _parent(envelope, reference)
        result = _result(parent, results.get(parent, b""))
        if spec.WhichOneof("input") == "generate":
            texts[reference.input] = _text(parent, reference, result)
        else:
            tensors.append(_tensor(parent, reference, result))
    if texts:
        _fill(spec.generate, texts)
    if tensors:
        _add(spec.tensors, tensors)
    if (size := spec.ByteSize()) > MAX_SPEC_BYTES:
        raise _too_large(size)
    changed = Envelope()
    changed.CopyFrom(envelope)
    changed.spec = spec.SerializeToString()
    changed.sha256 = sha256(changed.spec).digest()
    changed.input_size = len(changed.spec)
    changed.takes_outputs = False
    changed.revision += 1
    return changed.SerializeToString()


def _spec(envelope: Envelope) -> TaskSpec:
    try:
        return TaskSpec.FromString(envelope.spec)
    except DecodeError:
        raise ParentOutputUnusable("the task's own input cannot be read") from None


def _parent(envelope: Envelope, reference: InputReference) -> str:
    if not 0 <= reference.parent < len(envelope.parents):
        raise ParentOutputUnusable(f"the task has no parent number {reference.parent}")
    return envelope.parents[reference.parent]


def _result(parent: str, serialised: bytes) -> Result:
    if not serialised:
        raise ParentOutputUnusable(f"task {parent} left no result, or its result has expired")
    try:
        return Result.FromString(serialised)
    except DecodeError:
        raise ParentOutputUnusable(f"the result of task {parent} cannot be read") from None


def _text(parent: str, reference: InputReference, result: Result) -> str:
    if reference.output != TEXT or not result.HasField("generate"):
        raise ParentOutputUnusable(f"task {parent} has no output {reference.output!r} that is a text")
    return result.generate.text


def _tensor(parent: str, reference: InputReference, result: Result) -> Tensor:
    for found in result.tensors.tensors:
        if found.name == reference.output:
            renamed = Tensor()
            renamed.CopyFrom(found)
            renamed.name = reference.input
            return renamed
    raise ParentOutputUnusable(f"task {parent} has no output tensor {reference.output!r}")


def _add(given: TensorInput, tensors: Iterable[Tensor]) -> None:
    names = {tensor.name for tensor in given.tensors}
    for tensor in tensors:
        if tensor.name in names:
            raise ParentOutputUnusable(f"the task has an input tensor {tensor.name!r} already")
        names.add(tensor.name)
        given.tensors.append(tensor)


def _fill(generate: GenerateInput, texts: Mapping[str, str]) -> None:
    # Longest first: of two names one of which begins the other, the whole one is meant.
    names = sorted(texts, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape("{{" + name + "}}") for name in names))
    sizes = {"{{" + name + "}}": len(text.encode()) for name, text in texts.items()}
    parts = [part for message in generate.messages.messages for part in message.parts]
    before = [generate.prompt, *(part.text for part in parts)]
    # Counted first: many placeholders for a long text would fill the memory before they could be refused.
    size = sum(sizes[match] for text in before for match in pattern.findall(text))
    if size > MAX_SPEC_BYTES:
        raise _too_large(size)

    def text_of(match: re.Match[str]) -> str:
        return texts[match[0][2:-2]]

    if generate.WhichOneof("input") == "prompt":
        generate.prompt = pattern.sub(text_of, generate.prompt)
    for part in parts:
        if part.WhichOneof("part") == "text":
            part.text = pattern.sub(text_of, part.text)


def _too_large(size: int) -> ParentOutputUnusable:
    return ParentOutputUnusable(
        f"with the outputs of its parents the task would be {size} bytes long; {MAX_SPEC_BYTES} is the limit"
    )
