"""ModelInfer, with runners that do as they are told behind the gateway."""

import struct
from typing import Any

import grpc
import numpy as np
import pytest

from forebay.compat.kserve import model_config_pb2
from forebay.models.v1 import model_service_pb2
from forebay.runner.v1.runner_service_pb2 import Answer, Call
from forebay.tasks.v1 import inputs_pb2
from scheduler.errors import ModelFailed, Overloaded
from scheduler.states import Level
from tests.direct_runners import FakeRunner, never, refusing
from tests.integration.kserve import (
    EMBED,
    GENERATE,
    Request,
    kserve_door,
    raw_request,
    set_parameter,
    tensor_model,
    text_model,
    typed_request,
)

RAW = struct.pack("<2f", 1.0, 2.0)


async def test_raw_elements_go_in_and_come_out_with_id_name_and_version() -> None:
    runner = tensor_model(version=3)
    async with kserve_door(runner) as door:
        response = await door.infer(raw_request(RAW, id="seven"))
        named = await door.infer(raw_request(RAW, model_version="3"))
        by_name = await door.infer(raw_request(RAW, model_name="m@3"))
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "seven")
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("x", "FP32", [1, 2])
    assert list(response.raw_output_contents) == [RAW]
    assert named.model_version == by_name.model_version == "3"
    (tensor,) = runner.calls[0].tensors.tensors
    assert (tensor.name, tensor.datatype, list(tensor.shape), tensor.raw) == ("x", "FP32", [1, 2], RAW)
    assert (runner.calls[0].tenant, int(runner.calls[0].priority)) == ("default", Level.NORMAL)
    assert not runner.calls[0].HasField("sequence")


async def test_a_model_without_versions_answers_to_version_one_and_no_other() -> None:
    async with kserve_door(tensor_model()) as door:
        assert (await door.infer(raw_request(RAW))).model_version == "1"
        assert (await door.infer(raw_request(RAW, model_version="1"))).model_version == "1"
        code, _ = await door.refusal(door.stub.ModelInfer(raw_request(RAW, model_version="2"), timeout=5))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "model_version" in await door.fault(raw_request(RAW, model_version="latest"))


TYPED: dict[str, tuple[str, list[Any], bytes]] = {
    "BOOL": ("bool_contents", [True, False], b"\1\0"),
    "UINT8": ("uint_contents", [0, 255], b"\0\xff"),
    "UINT16": ("uint_contents", [1, 65535], struct.pack("<2H", 1, 65535)),
    "UINT32": ("uint_contents", [1, 2**32 - 1], struct.pack("<2I", 1, 2**32 - 1)),
    "UINT64": ("uint64_contents", [1, 2**64 - 1], struct.pack("<2Q", 1, 2**64 - 1)),
    "INT8": ("int_contents", [-128, 127], struct.pack("<2b", -128, 127)),
    "INT16": ("int_contents", [-(2**15), 5], struct.pack("<2h", -(2**15), 5)),
    "INT32": ("int_contents", [-(2**31), 5], struct.pack("<2i", -(2**31), 5)),
    "INT64": ("int64_contents", [-(2**63), 5], struct.pack("<2q", -(2**63), 5)),
    "FP32": ("fp32_contents", [1.5, -2.0], struct.pack("<2f", 1.5, -2.0)),
    "FP64": ("fp64_contents", [1.5, -2.0], struct.pack("<2d", 1.5, -2.0)),
    "BYTES": ("bytes_contents", [b"ab", b""], b"\2\0\0\0ab\0\0\0\0"),
}


@pytest.mark.parametrize("datatype", TYPED)
async def test_typed_elements_arrive_as_the_bytes_of_their_datatype(datatype: str) -> None:
    field, elements, raw = TYPED[datatype]
    runner = tensor_model(("x", datatype, (-1, 2)))
    async with kserve_door(runner) as door:
        response = await door.infer(typed_request(field, elements, datatype))
    assert runner.calls[0].tensors.tensors[0].raw == raw
    assert list(response.raw_output_contents) == [raw]


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
async def test_half_precision_comes_in_raw_elements_only(datatype: str) -> None:
    runner = tensor_model(("x", datatype, (-1, 2)))
    async with kserve_door(runner) as door:
        response = await door.infer(raw_request(b"\1\2\3\4", datatype=datatype))
        fault = await door.fault(typed_request("fp32_contents", [1.0, 2.0], datatype))
    assert list(response.raw_output_contents) == [b"\1\2\3\4"]
    assert "'x'" in fault and "raw_input_contents" in fault


async def test_a_scalar_and_a_tensor_without_elements_go_through() -> None:
    runner = tensor_model(("x", "FP32", ()), ("y", "INT64", (-1, 3)))
    async with kserve_door(runner) as door:
        request = Request(model_name="m", raw_input_contents=[b"\0\0\0\0", b""])
        request.inputs.add(name="x", datatype="FP32")
        request.inputs.add(name="y", datatype="INT64", shape=[0, 3])
        raw = await door.infer(request)
        request = Request(model_name="m")
        request.inputs.add(name="x", datatype="FP32").contents.fp32_contents.append(0.0)
        request.inputs.add(name="y", datatype="INT64", shape=[0, 3])
        typed = await door.infer(request)
    for response in (raw, typed):
        assert [list(output.shape) for output in response.outputs] == [[], [0, 3]]
        assert list(response.raw_output_contents) == [b"\0\0\0\0", b""]


async def test_wanted_outputs_and_classes_reach_the_runner_in_the_order_of_the_request() -> None:
    runner = tensor_model(outputs=[("y", "FP32", (-1, 2)), ("z", "FP32", (-1, 2))])
    async with kserve_door(runner) as door:
        request = raw_request(RAW)
        set_parameter(request.outputs.add(name="z"), "classification", 3)
        request.outputs.add(name="y")
        await door.infer(request)
    assert [(one.name, one.classes) for one in runner.calls[0].outputs] == [("z", 3), ("y", 0)]


@pytest.mark.parametrize(
    ("value", "kind", "level"),
    [
        (0, "uint64_param", Level.NORMAL),
        (1, "uint64_param", Level.CRITICAL),
        (2, "int64_param", Level.HIGH),
        (3, "uint64_param", Level.NORMAL),
        (4, "uint64_param", Level.LOW),
        (2**64 - 1, "uint64_param", Level.LOW),
        ("High", "string_param", Level.HIGH),
    ],
)
async def test_lower_numbers_are_higher_levels(value: Any, kind: str, level: Level) -> None:
    runner = tensor_model()
    async with kserve_door(runner) as door:
        await door.infer(set_parameter(raw_request(RAW), "priority", value, kind))
    assert int(runner.calls[0].priority) == level


async def test_the_shorter_of_time_out_and_deadline_counts() -> None:
    runner = tensor_model()
    async with kserve_door(runner) as door:
        await door.infer(set_parameter(raw_request(RAW), "timeout", 2_000_000))
        await door.infer(set_parameter(raw_request(RAW), "timeout", 60_000_000))
        runner.answer = never
        slow = set_parameter(raw_request(RAW), "timeout", 50_000)
        code, details = await door.refusal(door.stub.ModelInfer(slow, timeout=10))
    assert 0 < runner.calls[0].timeout_ms <= 2000 < runner.calls[1].timeout_ms <= 5500
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED and "0.05 s" in details


@pytest.mark.parametrize(
    ("sent", "kind", "id"), [(42, "int64_param", "42"), (42, "uint64_param", "42"), ("a", "", "a")]
)
async def test_sequences_reach_models_that_keep_state(sent: Any, kind: str, id: str) -> None:
    runner = tensor_model(stateful=True)
    async with kserve_door(runner) as door:
        for start, end in ((True, False), (False, True)):
            request = set_parameter(raw_request(RAW), "sequence_id", sent, kind)
            set_parameter(request, "sequence_start", start)
            set_parameter(request, "sequence_end", end)
            await door.infer(request)
    places = [(call.sequence.id, call.sequence.start, call.sequence.end) for call in runner.calls]
    assert places == [(id, True, False), (id, False, True)]


async def test_models_without_state_take_no_notice_of_sequences_nor_of_parameters_that_nobody_knows() -> None:
    runner = tensor_model()
    async with kserve_door(runner) as door:
        request = set_parameter(raw_request(RAW), "sequence_id", 7)
        set_parameter(request, "made_up", 1.5)
        set_parameter(request.inputs[0], "made_up", "x")
        request.parameters["empty"].Clear()
        await door.infer(request)
    assert not runner.calls[0].HasField("sequence")


async def test_an_input_that_the_configuration_makes_optional_may_be_left_out() -> None:
    config = model_config_pb2.ModelConfig(max_batch_size=4)
    config.input.add(name="y", data_type="TYPE_FP32", dims=[2], optional=True)
    inputs = (("x", "FP32", (2,)), ("y", "FP32", (2,)))
    runner = tensor_model(*inputs, max_batch_size=4, config=config.SerializeToString())
    async with kserve_door(runner) as door:
        assert list((await door.infer(raw_request(RAW))).outputs[0].shape) == [1, 2]
        fault = await door.fault(raw_request(RAW * 5, shape=[5, 2]))
    assert "input 'x'" in fault and "Expected 1 to 4, got 5" in fault


def two_inputs(**fields: Any) -> Request:
    request = raw_request(RAW, **fields)
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    return request


def with_contents() -> Request:
    request = raw_request(RAW)
    request.inputs[0].contents.fp32_contents.extend([1.0, 2.0])
    return request


def with_output(name: str, **parameters: Any) -> Request:
    request = raw_request(RAW)
    output = request.outputs.add(name=name)
    for key, value in parameters.items():
        set_parameter(output, key, value)
    return request


def shared_input() -> Request:
    request = raw_request(RAW)
    set_parameter(request.inputs[0], "shared_memory_region", "r")
    return request


def twice_wanted() -> Request:
    request = with_output("y")
    request.outputs.add(name="y")
    return request


WRONG: dict[str, tuple[Request, tuple[str, ...]]] = {
    "no model": (raw_request(RAW, model_name=""), ("model_name", "required")),
    "a name that is none": (raw_request(RAW, model_name="a b"), ("model_name",)),
    "no input": (Request(model_name="m"), ("input 'x' is missing for model 'm'", "FP32[-1,2]")),
    "unknown input": (raw_request(RAW, "z"), ("unexpected input 'z' for model 'm'", "Expected x")),
    "nameless input": (raw_request(RAW, ""), ("inputs[0].name",)),
    "datatype": (raw_request(RAW, datatype="INT32"), ("input 'x'", "Expected FP32, got INT32")),
    "no datatype": (raw_request(RAW, datatype="float"), ("input 'x'", "one of BOOL")),
    "rank": (raw_request(RAW, shape=[2]), ("input 'x' for model 'm'", "Expected [-1,2], got [2]")),
    "shape": (raw_request(RAW, shape=[1, 3]), ("input 'x' for model 'm'", "Expected [-1,2], got [1,3]")),
    "negative": (raw_request(RAW, shape=[-1, 2]), ("input 'x'", "no negative dimension")),
    "many dimensions": (raw_request(RAW, shape=[1] * 33), ("input 'x'", "at most 32")),
    "too short": (raw_request(RAW[:7]), ("input 'x'", "8 bytes", "is 7")),
    "too long": (raw_request(RAW + b"\0"), ("input 'x'", "8 bytes", "is 9")),
    "twice": (two_inputs(raw_input_contents=[RAW, RAW]), ("input 'x' is there twice",)),
    "raw and typed": (with_contents(), ("input 'x' has contents",)),
    "elements": (typed_request("fp32_contents", [1.0]), ("input 'x' has 1 elements", "asks for 2")),
    "another field": (typed_request("fp64_contents", [1.0, 2.0]), ("'x'", "fp32_contents", "fp64_contents")),
    "unknown output": (with_output("w"), ("unexpected output 'w' for model 'm'", "y")),
    "output twice": (twice_wanted(), ("output 'y' is wanted twice",)),
    "no classes": (with_output("y", classification="many"), ("classification of output 'y'",)),
    "negative classes": (with_output("y", classification=-1), ("classification of output 'y'",)),
    "shared output": (with_output("y", shared_memory_region="r"), ("output 'y'", "shared memory")),
    "shared input": (
        shared_input(),
        ("input 'x'", "shared memory"),
    ),
    "priority": (set_parameter(raw_request(RAW), "priority", "soon"), ("parameters.priority", "critical")),
    "negative priority": (set_parameter(raw_request(RAW), "priority", -1), ("parameters.priority",)),
    "true priority": (set_parameter(raw_request(RAW), "priority", True), ("parameters.priority",)),
    "timeout": (set_parameter(raw_request(RAW), "timeout", 1.5), ("parameters.timeout", "microseconds")),
    "negative timeout": (set_parameter(raw_request(RAW), "timeout", -1), ("parameters.timeout",)),
    "sequence": (set_parameter(raw_request(RAW), "sequence_id", 1.5), ("parameters.sequence_id",)),
    "long sequence": (set_parameter(raw_request(RAW), "sequence_id", "x" * 257), ("sequence_id", "256")),
    "start": (set_parameter(raw_request(RAW), "sequence_start", 1), ("sequence_start", "true or false")),
}


async def test_every_fault_names_what_is_wrong_and_nothing_of_it_reaches_a_runner() -> None:
    runner = tensor_model(outputs=[("y", "FP32", (-1, 2))])
    async with kserve_door(runner) as door:
        for case, (request, wanted) in WRONG.items():
            fault = await door.fault(request)
            assert all(words in fault for words in wanted), (case, fault)
        assert "one for each of 1 inputs, there are 2" in await door.fault(
            raw_request(RAW, raw_input_contents=[RAW, RAW])
        )
    assert not runner.calls


async def test_elements_of_bytes_that_do_not_add_up_are_refused() -> None:
    runner = tensor_model(("x", "BYTES", (-1,)))
    async with kserve_door(runner) as door:
        await door.infer(raw_request(b"\1\0\0\0a", datatype="BYTES", shape=[1]))
        for raw in (b"", b"\2\0\0\0a", b"\1\0\0\0ab", b"\xff\xff\xff\xffa"):
            assert "input 'x'" in await door.fault(raw_request(raw, datatype="BYTES", shape=[1]))
        overflow = typed_request("int_contents", [300, 1], "INT8")
        assert "unexpected datatype" in await door.fault(overflow)
    async with kserve_door(tensor_model(("x", "INT8", (-1, 2)))) as door:
        assert "INT8 cannot hold" in await door.fault(overflow)


async def test_what_a_runner_refuses_keeps_its_code() -> None:
    runner = tensor_model(answer=refusing(ModelFailed("no such row"), started=True))
    async with kserve_door(runner) as door:
        code, details = await door.refusal(door.stub.ModelInfer(raw_request(RAW), timeout=5))
        assert (code, details) == (grpc.StatusCode.UNKNOWN, "no such row")
        runner.answer = refusing(Overloaded("full", 1.0))
        code, _ = await door.refusal(door.stub.ModelInfer(raw_request(RAW), timeout=5))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        code, details = await door.refusal(
            door.stub.ModelInfer(raw_request(RAW, model_name="none"), timeout=5)
        )
        assert code is grpc.StatusCode.NOT_FOUND and "none" in details


async def test_a_model_that_no_runner_has_read_is_not_ready() -> None:
    loading = FakeRunner("r1", state=model_service_pb2.RUNNER_STATE_LOADING)
    loading.card = model_service_pb2.Model(name="m")
    async with kserve_door(loading) as door:
        code, _ = await door.refusal(door.stub.ModelInfer(raw_request(RAW), timeout=5))
    assert code is grpc.StatusCode.UNAVAILABLE


# --- models of text -----------------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    encoded = value.encode()
    return len(encoded).to_bytes(4, "little") + encoded


def prompt(value: str = "hello", **values: tuple[str, bytes]) -> Request:
    request = raw_request(text(value), "text_input", "BYTES", [1])
    for name, (datatype, raw) in values.items():
        request.inputs.add(name=name, datatype=datatype, shape=[1])
        request.raw_input_contents.append(raw)
    return request


def whole(call: Call) -> Answer:
    output = inputs_pb2.GenerateOutput(text="one", finish_reason=inputs_pb2.FINISH_REASON_LENGTH)
    for index in range(1, call.generate.n):
        output.others.add(index=index, text="other", finish_reason=inputs_pb2.FINISH_REASON_STOP)
    return Answer(id=call.id, started=True, generate=output)


async def test_a_language_model_takes_a_text_and_gives_the_whole_of_what_it_generates() -> None:
    runner = text_model(GENERATE, whole)
    async with kserve_door(runner) as door:
        response = await door.infer(prompt())
        (output,) = response.outputs
        assert (output.name, output.datatype, list(output.shape)) == ("text_output", "BYTES", [1])
        assert list(response.raw_output_contents) == [text("one")]
        with_prompt = await door.infer(prompt(exclude_input_in_output=("BOOL", b"\0")))
        assert list(with_prompt.raw_output_contents) == [text("helloone")]
        request = prompt(n=("INT32", b"\2\0\0\0"))
        request.outputs.add(name="finish_reason")
        request.outputs.add(name="text_output")
        several = await door.infer(request)
        assert list(several.raw_output_contents) == [
            text("length") + text("stop"),
            text("one") + text("other"),
        ]
    assert runner.calls[0].generate.prompt == "hello"
    assert not runner.calls[0].stream


async def test_sampling_is_told_by_an_input_by_json_or_by_a_parameter_in_that_order() -> None:
    runner = text_model(GENERATE, whole)
    json = text(
        '{"max_tokens": "7", "temperature": 0.5, "stop": ["a", "b"], "top_p": 0.25, "ignore_eos": true}'
    )
    async with kserve_door(runner) as door:
        request = prompt(
            sampling_parameters=("BYTES", json),
            top_p=("FP32", struct.pack("<f", 0.75)),
            seed=("UINT64", struct.pack("<Q", 2**64 - 1)),
        )
        set_parameter(request, "max_tokens", 9)
        set_parameter(request, "top_k", 3)
        await door.infer(request)
        stops = prompt()
        stops.inputs.add(name="stop", datatype="BYTES", shape=[2])
        stops.raw_input_contents.append(text("x") + text("y"))
        await door.infer(stops)
    first, second = (call.generate for call in runner.calls)
    assert (first.max_tokens, first.temperature, first.top_p, first.top_k) == (7, 0.5, 0.75, 3)
    assert (list(first.stop), first.ignore_eos, first.seed) == (["a", "b"], True, 2**64 - 1)
    assert list(second.stop) == ["x", "y"]
    assert not second.HasField("max_tokens")


async def test_what_a_language_model_cannot_be_asked_is_named() -> None:
    runner = text_model(GENERATE, whole)
    json = {
        "not json": "{",
        "no object": "[1]",
        "beam": '{"use_beam_search": true}',
        "deep": "[" * 50_000,
        "a text for a number": '{"max_tokens": "many"}',
        "a list for a number": '{"max_tokens": [1]}',
        "a number that is too large": '{"top_k": 1e30}',
        "no truth": '{"ignore_eos": 2}',
        "no text": '{"stop": 5}',
    }
    async with kserve_door(runner) as door:
        for case, given in json.items():
            fault = await door.fault(prompt(sampling_parameters=("BYTES", text(given))))
            assert fault.partition(":")[0] in (
                "sampling_parameters",
                "max_tokens",
                "top_k",
                "ignore_eos",
                "stop",
            ), (
                case,
                fault,
            )
        assert "temperature" in await door.fault(set_parameter(prompt(), "temperature", 3.0))
        assert "text_input" in await door.fault(prompt(""))
        assert "'text_input' is missing" in await door.fault(Request(model_name="m"))
        bad = raw_request(b"\1\0\0\0\xff", "text_input", "BYTES", [1])
        assert "UTF-8" in await door.fault(bad)
        wanted = prompt()
        set_parameter(wanted.outputs.add(name="text_output"), "classification", 1)
        assert "no classes" in await door.fault(wanted)
    assert not runner.calls


async def test_an_embedding_model_takes_texts_and_gives_vectors_and_what_was_cut_off() -> None:
    def embed(call: Call) -> Answer:
        answer = Answer(id=call.id, started=True)
        for each in call.embed.texts:
            answer.embed.embeddings.add(values=[float(len(each)), 0.5], truncated=len(each) > 2)
        return answer

    runner = text_model(EMBED, embed, dimensions=2)
    async with kserve_door(runner) as door:
        request = raw_request(text("ab") + text("abc"), "text", "BYTES", [2])
        response = await door.infer(request)
        request.inputs.add(name="normalize", datatype="BOOL", shape=[1])
        request.raw_input_contents.append(b"\0")
        request.outputs.add(name="embedding")
        alone = await door.infer(request)
        assert "inputs.text[0]: must not be empty" in await door.fault(
            raw_request(text(""), "text", "BYTES", [1])
        )
        assert "UTF-8" in await door.fault(raw_request(b"\1\0\0\0\xff", "text", "BYTES", [1]))
    assert [(each.name, each.datatype, list(each.shape)) for each in response.outputs] == [
        ("embedding", "FP32", [2, 2]),
        ("truncated", "BOOL", [2]),
    ]
    vectors = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(2, 2)
    assert vectors.tolist() == [[2.0, 0.5], [3.0, 0.5]]
    assert response.raw_output_contents[1] == b"\0\1"
    assert [each.name for each in alone.outputs] == ["embedding"]
    assert not runner.calls[0].embed.HasField("normalize")
    assert runner.calls[1].embed.normalize is False


async def test_a_call_that_its_client_gives_up_is_stopped_at_the_runner() -> None:
    runner = tensor_model(answer=never)
    async with kserve_door(runner) as door:
        call = door.stub.ModelInfer(raw_request(RAW), timeout=10)
        await runner.until(lambda: len(runner.calls) == 1)
        call.cancel()
        await runner.until(lambda: runner.cancelled == [runner.calls[0].id])
