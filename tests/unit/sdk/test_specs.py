from datetime import UTC, datetime, timedelta

import ml_dtypes
import numpy as np
import pytest

from forebay.client import Priority, TaskOptions, task_spec, to_array, to_tensor
from forebay.client.generations import GenerateOptions
from forebay.tasks.v1.inputs_pb2 import GenerateInput, JsonObject, PlainText, Tensor
from forebay.tasks.v1.task_pb2 import CacheMode, ParentFailurePolicy, TaskSpec
from forebay.tasks.v1.task_pb2 import Priority as WirePriority


def test_a_prompt_becomes_a_generation_and_absent_options_stay_absent() -> None:
    spec = task_spec("smollm2", prompt="Once", max_tokens=5, temperature=0.0)
    assert spec.generate.prompt == "Once"
    assert spec.generate.max_tokens == 5
    assert spec.generate.HasField("temperature")
    assert not spec.generate.HasField("top_p")
    assert not spec.generate.HasField("seed")
    assert spec.priority == WirePriority.PRIORITY_NORMAL
    assert not spec.HasField("retry")
    assert not spec.HasField("deadline")


def test_a_chat_takes_texts_and_lists_of_parts() -> None:
    spec = task_spec(
        "smollm2",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}, "there"]},
        ],
        stop=["\n"],
        seed=7,
    )
    messages = spec.generate.messages.messages
    assert [message.role for message in messages] == ["system", "user"]
    assert [part.text for part in messages[1].parts] == ["Hello", "there"]
    assert list(spec.generate.stop) == ["\n"]
    assert spec.generate.seed == 7


def test_all_that_a_generation_may_be_told_is_written() -> None:
    generate = task_spec(
        "smollm2",
        prompt="Once",
        presence_penalty=0.0,
        frequency_penalty=-1.5,
        repetition_penalty=1.25,
        logit_bias={7: -100, 0: 2.5},
        logprobs=0,
        stop_token_ids=[2, 0],
        n=3,
        response_format="json_object",
    ).generate
    assert generate.HasField("presence_penalty")
    assert (generate.frequency_penalty, generate.repetition_penalty) == (-1.5, 1.25)
    assert dict(generate.logit_bias) == {7: -100, 0: 2.5}
    assert generate.HasField("logprobs")
    assert (list(generate.stop_token_ids), generate.n) == ([2, 0], 3)
    assert generate.response_format.HasField("json_object")
    bare = task_spec("smollm2", prompt="Once").generate
    assert not any(bare.HasField(name) for name in ("logprobs", "n", "repetition_penalty", "response_format"))


def test_every_field_of_a_generation_is_an_option() -> None:
    fields = {field.name for field in GenerateInput.DESCRIPTOR.fields}
    assert fields == set(GenerateOptions.__annotations__)
    assert fields < set(TaskOptions.__annotations__)


@pytest.mark.parametrize(
    ("given", "kind", "definition"),
    [
        (
            {"json_schema": {"type": "object", "title": "é"}},
            "json_schema",
            '{"type": "object", "title": "é"}',
        ),
        ({"json_schema": '{"type":"object"}'}, "json_schema", '{"type":"object"}'),
        ({"json_schema": True}, "json_schema", "true"),
        ({"regex": "[a-z]+"}, "regex", "[a-z]+"),
        ({"grammar": 'start: "a"'}, "grammar", 'start: "a"'),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}},
            "json_schema",
            '{"type": "array"}',
        ),
        ({"type": "json_object"}, "json_object", JsonObject()),
        ({"type": "text"}, "text", PlainText()),
        ("text", "text", PlainText()),
    ],
)
def test_a_response_format_is_written_as_the_contract_has_it(
    given: str | dict[str, object], kind: str, definition: object
) -> None:
    written = task_spec("m", prompt="x", response_format=given).generate.response_format
    assert written.WhichOneof("format") == kind
    assert getattr(written, kind) == definition


def test_what_a_task_carries_beside_its_input() -> None:
    spec = task_spec(
        "add",
        tensors={"x": np.zeros((2, 3), np.float32)},
        priority="critical",
        pool="edge",
        max_attempts=5,
        idempotency_key="k",
        labels={"team": "a"},
        deadline=datetime(2030, 1, 1, tzinfo=UTC),
    )
    assert spec.priority == WirePriority.PRIORITY_CRITICAL
    assert (spec.pool, spec.retry.max_attempts, spec.idempotency_key) == ("edge", 5, "k")
    assert dict(spec.labels) == {"team": "a"}
    assert spec.deadline.seconds == 1893456000
    assert spec.tensors.tensors[0].datatype == "FP32"


def test_a_deadline_may_be_a_while_from_now() -> None:
    before = datetime.now(UTC)
    deadline = task_spec("m", prompt="x", deadline=timedelta(minutes=5)).deadline.ToDatetime(tzinfo=UTC)
    assert timedelta(minutes=5) <= deadline - before < timedelta(minutes=6)


def test_every_priority_is_known_by_its_name() -> None:
    for priority in Priority:
        assert WirePriority.Name(task_spec("m", prompt="x", priority=priority.value).priority).endswith(
            priority.name
        )


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, TypeError, "exactly one"),
        ({"prompt": "x", "tensors": {}}, TypeError, "exactly one"),
        ({"prompt": "x", "max_token": 3}, TypeError, "max_token"),
        ({"tensors": {}, "seed": 3}, TypeError, "seed"),
        ({"prompt": "x", "stop": "."}, TypeError, "stop"),
        ({"tensors": {}, "n": 2}, TypeError, "n: only for language models"),
        ({"prompt": "x", "response_format": "xml"}, TypeError, "response_format"),
        ({"prompt": "x", "response_format": {"regex": "a", "grammar": "b"}}, TypeError, "response_format"),
        ({"prompt": "x", "response_format": {"regex": 1}}, TypeError, "regex takes a text"),
        ({"prompt": "x", "response_format": {"type": "json_schema"}}, TypeError, "schema"),
        ({"prompt": "x", "response_format": {"json_schema": {"const": float("nan")}}}, ValueError, "JSON"),
        ({"prompt": "x", "logit_bias": {2**31: 1.0}}, ValueError, "2147483648"),
        ({"prompt": "x", "priority": "urgent"}, ValueError, "urgent"),
        ({"prompt": "x", "deadline": datetime(2030, 1, 1)}, ValueError, "time zone"),
        ({"messages": [{"role": "user"}]}, TypeError, "message"),
        ({"messages": [{"role": "user", "content": [{"image": 1}]}]}, TypeError, "part"),
        ({"tensors": {"x": np.zeros(1, np.complex64)}}, ValueError, "complex64"),
        ({"tensors": {"x": np.array([1, None], object)}}, ValueError, "int"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    options: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        task_spec("m", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "datatype"),
    [
        ("?", "BOOL"),
        *((f"u{size}", f"UINT{size * 8}") for size in (1, 2, 4, 8)),
        *((f"i{size}", f"INT{size * 8}") for size in (1, 2, 4, 8)),
        *((f"f{size}", f"FP{size * 8}") for size in (2, 4, 8)),
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_arrays_of_every_number_type_and_shape_come_back_equal(
    dtype: str, datatype: str, shape: tuple[int, ...]
) -> None:
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
    tensor = to_tensor("x", array)
    assert (tensor.datatype, tuple(tensor.shape)) == (datatype, shape)
    back = to_array(tensor)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_big_endian_and_strided_arrays_are_written_in_the_order_of_the_wire() -> None:
    big = np.arange(6, dtype=">i4").reshape(2, 3)
    assert to_tensor("x", big).raw == np.arange(6, dtype="<i4").tobytes()
    assert to_tensor("x", big.T).raw == np.array([0, 3, 1, 4, 2, 5], "<i4").tobytes()


@pytest.mark.parametrize(
    "values", [["a", "é", ""], [b"a", "é".encode(), b""], np.array(["a", "é", ""], object)]
)
def test_strings_and_bytes_become_elements_with_their_lengths(values: list[object]) -> None:
    tensor = to_tensor("x", values)  # type: ignore[arg-type]
    assert tensor.datatype == "BYTES"
    assert tensor.raw == b"\x01\0\0\0a\x02\0\0\0\xc3\xa9\0\0\0\0"
    assert to_array(tensor).tolist() == [b"a", "é".encode(), b""]


def test_a_single_text_is_a_scalar() -> None:
    tensor = to_tensor("x", "hello")
    assert tuple(tensor.shape) == ()
    assert to_array(tensor).item() == b"hello"


@pytest.mark.parametrize(
    "broken",
    [
        Tensor(name="x", datatype="FP32", shape=[2], raw=b"1234"),
        Tensor(name="x", datatype="FP8", shape=[1], raw=b"1"),
        Tensor(name="x", datatype="BYTES", shape=[1], raw=b"\x05\0\0\0abc"),
        Tensor(name="x", datatype="BYTES", shape=[1], raw=b"\x05\0"),
        Tensor(name="x", datatype="BYTES", shape=[2], raw=b"\x01\0\0\0a"),
    ],
)
def test_a_tensor_whose_parts_do_not_fit_is_refused_by_name(broken: Tensor) -> None:
    with pytest.raises(ValueError, match="'x'"):
        to_array(broken)


def test_a_spec_survives_the_wire() -> None:
    spec = task_spec("m", tensors={"a": [1, 2], "b": ["x"]})
    assert TaskSpec.FromString(spec.SerializeToString()) == spec


def test_times_retries_and_parents_become_fields() -> None:
    spec = task_spec(
        "smollm2",
        prompt="Sum up: {{story}}",
        not_before=datetime(2030, 1, 1, tzinfo=UTC),
        max_attempts=5,
        initial_backoff=timedelta(seconds=2),
        max_backoff=timedelta(minutes=1),
        backoff_multiplier=3,
        depends_on=["07-01kaj5x3c9f0e8q4v2m7t1b6zd", 0],
        on_parent_failure="run",
        inputs_from={"story": (1, "text")},
    )
    assert spec.not_before.ToDatetime(tzinfo=UTC) == datetime(2030, 1, 1, tzinfo=UTC)
    assert (spec.retry.max_attempts, spec.retry.initial_backoff.seconds) == (5, 2)
    assert (spec.retry.max_backoff.seconds, spec.retry.multiplier) == (60, 3)
    assert [parent.WhichOneof("task") for parent in spec.depends_on] == ["id", "index"]
    assert spec.on_parent_failure == ParentFailurePolicy.PARENT_FAILURE_POLICY_RUN
    [reference] = spec.inputs_from
    assert (reference.parent, reference.output, reference.input) == (1, "text", "story")


def test_a_choice_that_does_not_exist_is_refused_here() -> None:
    with pytest.raises(ValueError, match="none of fail, run, cancel"):
        task_spec("m", prompt="x", on_parent_failure="explode")
    with pytest.raises(ValueError, match="not_before has no time zone"):
        task_spec("m", prompt="x", not_before=datetime(2030, 1, 1))


def test_what_a_task_wants_of_the_cache_is_written_and_a_word_that_means_nothing_refused() -> None:
    words = [word.removeprefix("CACHE_MODE_").lower() for word in CacheMode.keys()]
    for number, word in enumerate(words[1:], start=1):
        assert task_spec("m", prompt="p", cache=word).cache == number
    assert not task_spec("m", prompt="p").cache
    with pytest.raises(ValueError, match="always"):
        task_spec("m", prompt="p", cache="always")


def test_a_time_that_is_a_text_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="not_before takes a datetime or a timedelta, not str"):
        task_spec("m", prompt="x", not_before="tomorrow")  # type: ignore[arg-type]


def test_texts_become_an_embedding() -> None:
    spec = task_spec("minilm", texts=["a", "b"], normalize=False, priority="low")
    assert list(spec.embed.texts) == ["a", "b"]
    assert spec.embed.HasField("normalize")
    assert not spec.embed.normalize
    assert not task_spec("minilm", texts=["a"]).embed.HasField("normalize")


def test_options_of_one_kind_of_model_are_refused_with_another() -> None:
    wrong: list[TaskOptions] = [
        {"texts": ["a"], "max_tokens": 5},
        {"texts": ["a"], "prompt": "b"},
        {"prompt": "b", "normalize": True},
        {"texts": "a"},
    ]
    for options in wrong:
        with pytest.raises(TypeError):
            task_spec("m", **options)


def test_numbers_of_two_bytes_are_read_as_numbers_of_four() -> None:
    raw = np.array([1.5, -2.0, 0.0], np.float32).view(np.uint32) >> 16
    tensor = Tensor(name="x", datatype="BF16", shape=[3], raw=raw.astype("<u2").tobytes())
    read = to_array(tensor)
    assert (read.dtype.name, read.tolist()) == ("float32", [1.5, -2.0, 0.0])
    assert not read.flags.writeable


def test_an_array_of_bfloat16_is_sent_as_it_is() -> None:
    numbers = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    tensor = to_tensor("x", numbers)
    assert (tensor.datatype, list(tensor.shape), len(tensor.raw)) == ("BF16", [2], 4)
    assert to_array(tensor).tolist() == [1.5, -2.0]
