"""Outputs of parents in the input of a child."""

from hashlib import sha256

import pytest

from forebay.tasks.v1.envelope_pb2 import Envelope
from forebay.tasks.v1.inputs_pb2 import (
    ChatMessage,
    ChatMessages,
    ContentPart,
    GenerateInput,
    GenerateOutput,
    Tensor,
    TensorInput,
    TensorOutput,
)
from forebay.tasks.v1.task_pb2 import InputReference, Result, TaskSpec
from scheduler.errors import ParentOutputUnusable
from scheduler.service.parent_outputs import MAX_SPEC_BYTES, wanted_parents, with_outputs

A, B = "07-a", "08-b"


def envelope(spec: TaskSpec, *parents: str) -> Envelope:
    body = spec.SerializeToString()
    return Envelope(
        id="09-c",
        tenant="t",
        spec=body,
        sha256=sha256(body).digest(),
        parents=parents,
        takes_outputs=True,
        revision=4,
        fingerprint="f",
    )


def generation(prompt: str, *inputs_from: InputReference) -> TaskSpec:
    return TaskSpec(model="m", generate=GenerateInput(prompt=prompt, max_tokens=5), inputs_from=inputs_from)


def text(words: str) -> bytes:
    return Result(generate=GenerateOutput(text=words)).SerializeToString()


def tensors(*named: tuple[str, bytes]) -> bytes:
    made = [Tensor(name=name, datatype="UINT8", shape=[len(raw)], raw=raw) for name, raw in named]
    return Result(tensors=TensorOutput(tensors=made)).SerializeToString()


def of(parent: int, output: str, name: str) -> InputReference:
    return InputReference(parent=parent, output=output, input=name)


def spec_with(child: Envelope, results: dict[str, bytes]) -> TaskSpec:
    return TaskSpec.FromString(Envelope.FromString(with_outputs(child, results)).spec)


def test_a_text_replaces_its_placeholder_everywhere_in_the_prompt() -> None:
    child = envelope(generation("{{a}} and {{a}}, not {a} or {{b}}", of(0, "text", "a")), A)
    assert spec_with(child, {A: text("x")}).generate.prompt == "x and x, not {a} or {{b}}"


def test_the_changed_envelope_is_sealed_anew_under_the_next_revision() -> None:
    child = envelope(generation("{{a}}", of(0, "text", "a")), A)
    changed = Envelope.FromString(with_outputs(child, {A: text("x")}))
    assert changed.sha256 == sha256(changed.spec).digest() != child.sha256
    assert (changed.revision, changed.takes_outputs, changed.fingerprint) == (5, False, "f")
    assert (changed.id, changed.tenant, list(changed.parents)) == ("09-c", "t", [A])
    assert TaskSpec.FromString(changed.spec).generate.max_tokens == 5
    assert child.takes_outputs


def test_placeholders_in_what_a_parent_wrote_stay_as_they_are() -> None:
    child = envelope(generation("{{a}}|{{b}}", of(0, "text", "a"), of(1, "text", "b")), A, B)
    filled = spec_with(child, {A: text("{{b}}"), B: text("{{a}} \\1 \\g<0>")})
    assert filled.generate.prompt == "{{b}}|{{a}} \\1 \\g<0>"


def test_every_text_of_a_chat_is_filled() -> None:
    def chat(*words: str) -> ChatMessages:
        parts = [ContentPart(text=word) for word in words]
        return ChatMessages(messages=[ChatMessage(role="user", parts=parts)])

    spec = TaskSpec(
        generate=GenerateInput(messages=chat("see {{a}}", "plain")), inputs_from=[of(0, "text", "a")]
    )
    filled = spec_with(envelope(spec, A), {A: text("x")})
    assert filled.generate.messages == chat("see x", "plain")
    assert filled.generate.WhichOneof("input") == "messages"


@pytest.mark.parametrize("name", [".*", "a}}{{b", "(", "{{a", "ä ö"])
def test_names_of_placeholders_mean_nothing_but_themselves(name: str) -> None:
    child = envelope(generation("<{{" + name + "}}> {{x}}", of(0, "text", name)), A)
    assert spec_with(child, {A: text("y")}).generate.prompt == "<y> {{x}}"


def test_tensors_of_several_parents_are_added_under_the_names_of_the_inputs() -> None:
    spec = TaskSpec(
        tensors=TensorInput(tensors=[Tensor(name="own", datatype="UINT8", shape=[1], raw=b"o")]),
        inputs_from=[of(0, "out", "left"), of(1, "out", "right"), of(1, "out", "again")],
    )
    filled = spec_with(
        envelope(spec, A, B), {A: tensors(("out", b"1"), ("not", b"")), B: tensors(("out", b"22"))}
    )
    got = {tensor.name: (tensor.raw, list(tensor.shape)) for tensor in filled.tensors.tensors}
    assert got == {"own": (b"o", [1]), "left": (b"1", [1]), "right": (b"22", [2]), "again": (b"22", [2])}


def test_only_parents_whose_outputs_are_taken_are_wanted_and_each_once() -> None:
    assert wanted_parents(envelope(generation("", of(1, "text", "a"), of(1, "text", "b")), A, B)) == [B]


@pytest.mark.parametrize(
    ("spec", "results", "fault"),
    [
        (generation("{{a}}", of(0, "text", "a")), {}, "left no result"),
        (generation("{{a}}", of(0, "text", "a")), {A: b""}, "left no result"),
        (generation("{{a}}", of(0, "text", "a")), {A: b"\xff"}, "cannot be read"),
        (generation("{{a}}", of(0, "text", "a")), {A: tensors(("text", b""))}, "no output 'text'"),
        (generation("{{a}}", of(0, "words", "a")), {A: text("")}, "no output 'words'"),
        (generation("{{a}}", of(3, "text", "a")), {A: text("")}, "no parent number 3"),
        (TaskSpec(inputs_from=[of(0, "out", "in")]), {A: tensors(("other", b""))}, "no output tensor 'out'"),
        (TaskSpec(inputs_from=[of(0, "text", "in")]), {A: text("")}, "no output tensor"),
        (
            TaskSpec(tensors=TensorInput(tensors=[Tensor(name="in")]), inputs_from=[of(0, "out", "in")]),
            {A: tensors(("out", b""))},
            "input tensor 'in' already",
        ),
    ],
)
def test_what_cannot_be_put_in_is_refused(spec: TaskSpec, results: dict[str, bytes], fault: str) -> None:
    with pytest.raises(ParentOutputUnusable, match=fault):
        with_outputs(envelope(spec, A), results)


def test_an_input_that_would_grow_beyond_the_limit_is_refused() -> None:
    child = envelope(generation("{{a}}", of(0, "text", "a")), A)
    with_outputs(child, {A: text("x" * (MAX_SPEC_BYTES - 200))})
    with pytest.raises(ParentOutputUnusable, match="is the limit"):
        with_outputs(child, {A: text("x" * MAX_SPEC_BYTES)})
    tensor = TaskSpec(inputs_from=[of(0, "out", "in")])
    with pytest.raises(ParentOutputUnusable, match="is the limit"):
        with_outputs(envelope(tensor, A), {A: tensors(("out", b"x" * MAX_SPEC_BYTES))})


def test_many_placeholders_for_a_long_text_are_refused_before_they_fill_the_memory() -> None:
    child = envelope(generation("{{a}}" * 200_000, of(0, "text", "a")), A)
    with pytest.raises(ParentOutputUnusable, match=f"{200_000 * 1_000_000} bytes"):
        with_outputs(child, {A: text("x" * 1_000_000)})
