import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from forebay.tasks.v1 import inputs_pb2, task_pb2
from inference.convert import generate_request, request_of, result_of, tensor_request
from inference.engine import (
    Choice,
    EmbedOutput,
    EmbedRequest,
    Finish,
    FormatKind,
    GenerateOutput,
    GenerateRequest,
    Message,
    ResponseFormat,
    TensorOutput,
    TensorRequest,
    TokenLogprob,
)
from inference.tensor.datatypes import DATATYPES
from scheduler.errors import InvalidInput
from scheduler.states import Level

Change = Callable[[inputs_pb2.GenerateInput], object]


def tensors(*parts: tuple[str, str, Sequence[int], bytes]) -> inputs_pb2.TensorInput:
    message = inputs_pb2.TensorInput()
    for name, datatype, shape, raw in parts:
        message.tensors.add(name=name, datatype=datatype, shape=shape, raw=raw)
    return message


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def faults(call: Callable[[], object]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        call()
    return [(fault.field, fault.fault) for fault in caught.value.faults]


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name != "BYTES"])
def test_raw_bytes_become_an_array_and_the_same_bytes_again(datatype: str) -> None:
    dtype = DATATYPES[datatype].dtype
    expected = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    array = tensor_request(tensors(("x", datatype, [2, 3], expected.tobytes()))).inputs["x"]
    assert array.dtype == dtype
    assert np.array_equal(array, expected)
    message = result_of(TensorOutput({"x": array})).tensors.tensors[0]
    assert (message.name, message.datatype, list(message.shape)) == ("x", datatype, [2, 3])
    assert message.raw == expected.tobytes()


def test_bytes_elements_keep_every_byte() -> None:
    elements = [b"", b"\0\xff\0", "é".encode(), b"abc"]
    array = tensor_request(tensors(("x", "BYTES", [2, 2], packed(*elements)))).inputs["x"]
    assert array.tolist() == [elements[:2], elements[2:]]
    message = result_of(TensorOutput({"x": array})).tensors.tensors[0]
    assert (message.datatype, list(message.shape), message.raw) == ("BYTES", [2, 2], packed(*elements))


def test_scalars_and_empty_tensors_are_taken() -> None:
    inputs = tensor_request(
        tensors(
            ("s", "FP32", [], struct.pack("<f", 1.5)), ("e", "INT64", [0, 4], b""), ("b", "BYTES", [0], b"")
        )
    ).inputs
    assert inputs["s"].shape == ()
    assert float(inputs["s"]) == 1.5
    assert inputs["e"].shape == (0, 4)
    assert inputs["b"].shape == (0,)


def test_inputs_are_not_copied_and_cannot_be_written() -> None:
    array = tensor_request(tensors(("x", "UINT8", [2], b"ab"))).inputs["x"]
    assert not array.flags.writeable
    assert not array.flags.owndata


@pytest.mark.parametrize(
    ("part", "field", "fault"),
    [
        (("x", "FP32", [2, 2], b"\0" * 15), "raw", "expected 16 bytes for FP32[2,2], got 15"),
        (("x", "FP32", [2, 2], b"\0" * 17), "raw", "expected 16 bytes for FP32[2,2], got 17"),
        (("x", "FP32", [], b""), "raw", "expected 4 bytes for FP32[], got 0"),
        (("x", "INT8", [0, 2**62], b"\0"), "raw", f"expected 0 bytes for INT8[0,{2**62}], got 1"),
        (("x", "BOOL", [2], b"\0\2"), "raw", "expected bytes 0 and 1 for BOOL"),
        (("x", "BOOL", [2], b"\0"), "raw", "expected 2 bytes for BOOL[2], got 1"),
        (("x", "FP32", [-1, 4], b""), "shape", "expected no negative dimension, got -1"),
        (("x", "FP32", [2**62, 2**62], b""), "shape", f"expected at most {2**62} bytes"),
        (("x", "FP32", [0, 2**62, 2**62], b""), "shape", f"expected at most {2**62} bytes"),
        (("x", "BYTES", [2**61], b""), "shape", f"expected at most {2**62} bytes"),
        (("x", "FP32", [1] * 33, b"\0" * 4), "shape", "expected at most 32 dimensions, got 33"),
        (("x", "FLOAT", [1], b"\0" * 4), "datatype", f"expected one of {', '.join(DATATYPES)}"),
        (("x", "", [1], b"\0" * 4), "datatype", f"expected one of {', '.join(DATATYPES)}"),
        (("x", "BYTES", [2], b"\0" * 4), "raw", "expected at least 8 bytes for 2 BYTES elements, got 4"),
        (("x", "BYTES", [2**40], b""), "raw", f"expected at least {2**42} bytes for {2**40} BYTES elements, got 0"),
        (("x", "BYTES", [1], b"\5\0\0\0abcd"), "raw", "element 0 ends after the last of 8 bytes"),
        (("x", "BYTES", [2], b"\2\0\0\0abcd"), "raw", "element 1 ends after the last of 8 bytes"),
        (("x", "BYTES", [1], b"\xff\xff\xff\xff"), "raw", "element 0 ends after the last of 4 bytes"),
        (("x", "BYTES", [1], b"\1\0\0\0ab"), "raw", "1 bytes follow the last of 1 elements"),
        (("", "UINT8", [1], b"a"), "name", "expected 1 to 256 characters, got 0"),
        (("x" * 257, "UINT8", [1], b"a"), "name", "expected 1 to 256 characters, got 257"),
    ],
)  # fmt: skip
def test_a_faulty_tensor_is_refused_with_its_place(
    part: tuple[str, str, list[int], bytes], field: str, fault: str
) -> None:
    message = tensors(("good", "UINT8", [1], b"a"), part)
    assert faults(lambda: tensor_request(message)) == [(f"tensors.tensors[1].{field}", fault)]


def test_a_name_given_twice_is_refused() -> None:
    message = tensors(("x", "UINT8", [1], b"a"), ("x", "UINT8", [1], b"a"))
    assert faults(lambda: tensor_request(message)) == [
        ("tensors.tensors[1].name", "input 'x' is given twice")
    ]


def test_every_faulty_tensor_is_told() -> None:
    message = tensors(("x", "FP32", [1], b""), ("y", "FP99", [1], b""))
    assert [field for field, _ in faults(lambda: tensor_request(message))] == [
        "tensors.tensors[0].raw",
        "tensors.tensors[1].datatype",
    ]


@pytest.mark.parametrize("count", [0, 1025])
def test_there_is_at_least_one_tensor_and_not_too_many(count: int) -> None:
    message = tensors(*[(f"x{number}", "UINT8", [1], b"a") for number in range(count)])
    assert faults(lambda: tensor_request(message)) == [
        ("tensors.tensors", f"expected 1 to 1024 tensors, got {count}")
    ]


def test_a_task_is_converted_by_the_kind_of_its_input() -> None:
    spec = task_pb2.TaskSpec(tensors=tensors(("x", "UINT8", [1], b"a")))
    assert isinstance(request_of(spec), TensorRequest)
    assert isinstance(
        request_of(task_pb2.TaskSpec(generate=inputs_pb2.GenerateInput(prompt="a"))), GenerateRequest
    )
    assert faults(lambda: request_of(task_pb2.TaskSpec(), "tasks[3].")) == [
        ("tasks[3].input", "exactly one of generate, tensors and embed is required")
    ]


def test_paths_begin_with_the_prefix_of_the_caller() -> None:
    spec = task_pb2.TaskSpec(tensors=tensors(("x", "UINT8", [1], b"")))
    assert [field for field, _ in faults(lambda: request_of(spec, "tasks[3]."))] == [
        "tasks[3].tensors.tensors[0].raw"
    ]
    spec = task_pb2.TaskSpec(generate=inputs_pb2.GenerateInput(prompt="a", top_p=2))
    assert [field for field, _ in faults(lambda: request_of(spec, "tasks[3]."))] == [
        "tasks[3].generate.top_p"
    ]


def test_absent_fields_of_a_generation_take_their_defaults() -> None:
    assert generate_request(inputs_pb2.GenerateInput(prompt="a")) == GenerateRequest(prompt="a")


def test_fields_of_a_generation_are_taken_over() -> None:
    message = inputs_pb2.GenerateInput(
        max_tokens=7,
        temperature=0.5,
        top_p=0.25,
        top_k=3,
        min_p=0.125,
        seed=2**64 - 1,
        stop=["x"],
        ignore_eos=True,
        presence_penalty=-2,
        frequency_penalty=0.25,
        repetition_penalty=1.5,
        logit_bias={5: -100, 0: 0.5},
        logprobs=0,
        stop_token_ids=[9, 0],
        n=16,
    )
    message.response_format.json_object.SetInParent()
    user = message.messages.messages.add(role="user")
    user.parts.add(text="one ")
    user.parts.add(text="two")
    assert generate_request(message) == GenerateRequest(
        messages=(Message("user", "one two"),), max_tokens=7, temperature=0.5, top_p=0.25, top_k=3, min_p=0.125,
        seed=2**64 - 1, stop=("x",), ignore_eos=True, presence_penalty=-2, frequency_penalty=0.25,
        repetition_penalty=1.5, logit_bias={5: -100, 0: 0.5}, logprobs=0, stop_token_ids=(9, 0), n=16,
        response_format=ResponseFormat(FormatKind.JSON_OBJECT),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"json_schema": "{}"}, ResponseFormat(FormatKind.JSON_SCHEMA, "{}")),
        ({"regex": "a+"}, ResponseFormat(FormatKind.REGEX, "a+")),
        ({"grammar": 'start: "a"'}, ResponseFormat(FormatKind.GRAMMAR, 'start: "a"')),
        ({"text": inputs_pb2.PlainText()}, None),
    ],
)
def test_each_response_format_is_taken_over(given: dict[str, Any], taken: ResponseFormat | None) -> None:
    message = inputs_pb2.GenerateInput(prompt="a", response_format=inputs_pb2.ResponseFormat(**given))
    assert generate_request(message).response_format == taken


def test_a_generation_carries_the_level_and_the_tenant_of_its_task() -> None:
    spec = task_pb2.TaskSpec(generate=inputs_pb2.GenerateInput(prompt="a"))
    request = request_of(spec, level=Level.CRITICAL, tenant="t")
    assert isinstance(request, GenerateRequest)
    assert (request.level, request.tenant) == (Level.CRITICAL, "t")


def test_tensors_carry_the_level_and_the_tenant_of_their_task() -> None:
    spec = task_pb2.TaskSpec(tensors=tensors(("x", "UINT8", [1], b"a")))
    request = request_of(spec, level=Level.CRITICAL, tenant="t")
    assert isinstance(request, TensorRequest)
    assert (request.level, request.tenant) == (Level.CRITICAL, "t")


def test_texts_are_scaled_unless_they_shall_not_be() -> None:
    spec = task_pb2.TaskSpec(embed=inputs_pb2.EmbedInput(texts=["a", "b"]))
    assert request_of(spec, level=Level.LOW) == EmbedRequest(("a", "b"), normalize=True, level=Level.LOW)
    spec.embed.normalize = False
    assert request_of(spec) == EmbedRequest(("a", "b"), normalize=False)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([], [("t.embed.texts", "must have 1 to 2048 texts, has 0")]),
        (["a"] * 2049, [("t.embed.texts", "must have 1 to 2048 texts, has 2049")]),
        (["", "a", ""], [(f"t.embed.texts[{index}]", "must not be empty") for index in (0, 2)]),
        (
            ["\u00e4" * (1 << 19), "a"],
            [("t.embed.texts", "must have at most 1048576 bytes together, has 1048577")],
        ),
    ],
)
def test_every_fault_of_an_embedding_is_told_with_its_place(
    texts: list[str], told: list[tuple[str, str]]
) -> None:
    spec = task_pb2.TaskSpec(embed=inputs_pb2.EmbedInput(texts=texts))
    assert faults(lambda: request_of(spec, "t.")) == told


def test_vectors_become_a_result_with_usage() -> None:
    result = result_of(EmbedOutput(np.array([[1, 0.5], [0, 2]], np.float32), [3, 4], [False, True]))
    assert [list(one.values) for one in result.embed.embeddings] == [[1.0, 0.5], [0.0, 2.0]]
    assert [(one.tokens, one.truncated) for one in result.embed.embeddings] == [(3, False), (4, True)]
    assert (result.usage.input_tokens, result.usage.output_tokens) == (7, 0)
    assert not result.HasField("timing")


def test_every_fault_of_a_generation_is_told_with_its_place() -> None:
    message = inputs_pb2.GenerateInput(prompt="a", top_p=1.5, n=17, stop=[""], logit_bias={3: float("nan")})
    message.response_format.regex = ""
    assert faults(lambda: generate_request(message, "tasks[3].")) == [
        ("tasks[3].generate.top_p", "must be over 0 and at most 1, is 1.5"),
        ("tasks[3].generate.n", "must be 1 to 16, is 17"),
        ("tasks[3].generate.stop[0]", "must be 1 to 1024 bytes long"),
        ("tasks[3].generate.logit_bias[3]", "must be -100 to 100, is not a finite number"),
        ("tasks[3].generate.response_format.regex", "must be 1 to 262144 bytes long, is 0"),
    ]


def test_a_generation_becomes_a_result_with_usage_and_time_to_first_token() -> None:
    result = result_of(
        GenerateOutput([Choice("hi", (5, 6), Finish.LENGTH)], 3, time_to_first_token_s=1.25, cached_tokens=2)
    )
    assert result.generate.text == "hi"
    assert list(result.generate.token_ids) == [5, 6]
    assert result.generate.finish_reason == inputs_pb2.FINISH_REASON_LENGTH
    assert (result.usage.input_tokens, result.usage.output_tokens, result.usage.cached_tokens) == (3, 2, 2)
    assert result.timing.time_to_first_token.ToMilliseconds() == 1250


def test_the_first_choice_of_a_result_is_where_a_single_one_would_be_and_the_others_follow() -> None:
    logprobs = [TokenLogprob(5, -0.5, [(5, -0.5), (7, -1.0)]), TokenLogprob(6, -0.25)]
    choices = [
        Choice("hi", (5, 6), Finish.LENGTH, logprobs),
        Choice("ho", (5,), Finish.STOP, logprobs[:1]),
        Choice("", (), Finish.STOP),
    ]
    result = result_of(GenerateOutput(choices, 3, 0.5))
    generate = result.generate
    assert (generate.text, generate.finish_reason) == ("hi", inputs_pb2.FINISH_REASON_LENGTH)
    assert [(one.token_id, one.logprob) for one in generate.logprobs] == [(5, -0.5), (6, -0.25)]
    assert [(one.token_id, one.logprob) for one in generate.logprobs[0].top] == [(5, -0.5), (7, -1.0)]
    assert [(one.index, one.text, list(one.token_ids), one.finish_reason) for one in generate.others] == [
        (1, "ho", [5], inputs_pb2.FINISH_REASON_STOP),
        (2, "", [], inputs_pb2.FINISH_REASON_STOP),
    ]
    assert generate.others[0].logprobs[0].logprob == -0.5
    assert result.usage.output_tokens == 3


def test_no_outputs_are_a_result_too() -> None:
    assert result_of(TensorOutput({})).WhichOneof("output") == "tensors"


@pytest.mark.parametrize("level", Level)
def test_tensors_have_the_level_and_the_tenant_of_their_task(level: Level) -> None:
    spec = task_pb2.TaskSpec(tensors=tensors(("x", "FP32", [1, 1], bytes(4))))
    request = request_of(spec, level=level, tenant="anna")
    assert isinstance(request, TensorRequest)
    assert (request.level, request.tenant) == (level, "anna")
