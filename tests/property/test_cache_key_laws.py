"""Laws of the cache's key: questions that the engine is given alike have one key, and no others have.

What the engine is given is what `inference.convert` makes of a request: another reading of the contract than the
cache's own. Where the engine itself makes no difference between two requests, its own code says so.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from cache.key import canonical
from forebay.tasks.v1 import inputs_pb2
from inference.convert import embed_request, generate_request
from inference.engine import GenerateRequest
from inference.generate.sampling import SamplerState, Sampling, choose
from inference.generate.stops import StopScanner
from tests.unit.cache.key.asking import KEYS, MODEL, asked, key_of
from tests.unit.cache.key.decoding import read_form

TEXT: Final = st.text(alphabet="a\u0430e\u0301\u00e9\0{}: ", max_size=4)
MANY: Final = settings(max_examples=200, deadline=None)
FEW: Final = settings(max_examples=60, deadline=None)
STOPS: Final = st.lists(st.sampled_from(["a", "b", "ab", "ba", "\0"]), max_size=3)
VALUES: Final[dict[str, list[Any]]] = {
    "prompt": ["a", "\u0430", "\u00e9", "e\u0301", "a\0", "user"],
    "messages": [
        [("user", ["a"])],
        [("user", ["a", ""])],
        [("user", ["a"]), ("user", ["b"])],
        [("user", ["ab"])],
        [("user", ["a", "b"])],
        [("assistant", ["a"])],
    ],
    "max_tokens": [1, 255, 256],
    "temperature": [0.0, 1e-6, 1.0, 2.0],
    "top_p": [0.5, 1.0],
    "top_k": [0, 1],
    "min_p": [0.0, 0.5, 1.0],
    "seed": [0, 1, 2**64 - 1],
    "stop": [["a", "b"], ["b", "a"], ["a", "b", "a"], ["ab"]],
    "ignore_eos": [False, True],
    "presence_penalty": [0.0, -0.0, 1.0],
    "frequency_penalty": [0.0, -2.0, 1.0],
    "repetition_penalty": [0.5, 1.0],
    "logit_bias": [{}, {1: 0.0}, {1: 1.0, 2: 0.5}, {2: 0.5, 1: 1.0}, {2: 1.0, 1: 0.5}],
    "logprobs": [0, 1],
    "stop_token_ids": [[1, 2], [2, 1, 1], [1]],
    "n": [1, 2],
    "response_format": ["text", "json_object", "json_schema", "regex", "grammar"],
}
"""Values of every field that differ in little, some of which are its default."""
CHANGES: Final = st.sampled_from([(field, value) for field, values in VALUES.items() for value in values])


def made_of(changes: list[tuple[str, Any]]) -> inputs_pb2.GenerateInput:
    """Return a generation with these values, the last one of each field."""
    message = inputs_pb2.GenerateInput(prompt="a")
    for field, value in changes:
        if field == "messages":
            message.ClearField("input")
            for role, texts in value:
                parts = [inputs_pb2.ContentPart(text=text) for text in texts]
                message.messages.messages.add(role=role, parts=parts)
        elif field == "response_format":
            if value in ("text", "json_object"):
                getattr(message.response_format, value).SetInParent()
            else:
                setattr(message.response_format, value, "true")
        elif isinstance(value, list):
            getattr(message, field)[:] = value
        elif isinstance(value, dict):
            message.logit_bias.clear()
            for token, bias in value.items():
                message.logit_bias[token] = bias
        else:
            setattr(message, field, value)
    return message


GENERATIONS: Final = st.lists(CHANGES, max_size=6).map(made_of)


@st.composite
def close_generations(draw: st.DrawFn) -> tuple[inputs_pb2.GenerateInput, inputs_pb2.GenerateInput]:
    """Return two generations that differ in few fields, or only seem to."""
    common = draw(st.lists(CHANGES, max_size=4))
    field = draw(st.sampled_from(sorted(VALUES)))
    one, other = ([(field, value)] for value in draw(st.permutations(VALUES[field]))[:2])
    if draw(st.booleans()):
        one = []
    return made_of([*common, *one]), made_of([*common, *other])


def test_the_laws_are_tried_on_every_field() -> None:
    assert VALUES.keys() == {field.name for field in inputs_pb2.GenerateInput.DESCRIPTOR.fields}


def as_the_engine_takes_it(message: inputs_pb2.GenerateInput) -> str:
    """Return what an engine is given, with what it makes no difference between set to one value."""
    request = generate_request(message)
    request = replace(
        request,
        stop=tuple(sorted(set(request.stop))),
        stop_token_ids=tuple(sorted(set(request.stop_token_ids))),
        logit_bias=dict(sorted(request.logit_bias.items())),
    )
    if Sampling.of(request).greedy:
        request = replace(request, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, seed=None)
    return repr(request)  # which tells 0.0 from -0.0


@MANY
@given(close_generations())
def test_two_generations_have_one_key_exactly_when_the_engine_is_given_the_same(
    pair: tuple[inputs_pb2.GenerateInput, inputs_pb2.GenerateInput],
) -> None:
    taken = [as_the_engine_takes_it(message) for message in pair]
    one, other = (canonical(asked(message)) for message in pair)
    assert (one == other) is (taken[0] == taken[1])
    assert (key_of(pair[0]) == key_of(pair[1])) is (taken[0] == taken[1])


@FEW
@given(GENERATIONS)
def test_a_form_can_be_read_back_and_says_what_was_asked(message: inputs_pb2.GenerateInput) -> None:
    question = asked(message)
    form = read_form(canonical(question))
    given_prompt = message.prompt if message.WhichOneof("input") == "prompt" else None
    chat = [(one.role, "".join(part.text for part in one.parts)) for one in message.messages.messages]
    assert form[:5] == (
        b"G",
        MODEL.name,
        MODEL.version,
        MODEL.identity,
        chat if given_prompt is None else given_prompt,
    )
    assert form[17:19] == (sorted(set(message.stop)), tuple(sorted(set(message.stop_token_ids))))
    assert form[19] == sorted(message.logit_bias.items())


@FEW
@given(GENERATIONS)
def test_a_message_that_was_sent_and_read_again_has_the_same_key(message: inputs_pb2.GenerateInput) -> None:
    again = inputs_pb2.GenerateInput.FromString(message.SerializeToString())
    assert key_of(again) == key_of(message)


@st.composite
def tensor_inputs(draw: st.DrawFn) -> inputs_pb2.TensorInput:
    names = draw(
        st.lists(st.sampled_from(["x", "y", "X", "é", "e\u0301"]), min_size=1, max_size=3, unique=True)
    )
    message = inputs_pb2.TensorInput()
    for name in names:
        shape = draw(st.sampled_from([[], [1], [2, 1], [1, 2], [0]]))
        datatype = draw(st.sampled_from(["FP32", "INT32", "UINT32"]))
        size = 4 * int(np.prod(shape))
        raw = draw(st.sampled_from([bytes(size), b"\0\0\xc0\x7f" * (size // 4), b"\0\0\0\x80" * (size // 4)]))
        message.tensors.add(name=name, datatype=datatype, shape=shape, raw=raw)
    return message


def as_sets(message: inputs_pb2.TensorInput) -> set[tuple[str, str, tuple[int, ...], bytes]]:
    return {(one.name, one.datatype, tuple(one.shape), one.raw) for one in message.tensors}


OUTPUTS: Final = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=2, unique_by=lambda one: one[0]
)


@MANY
@given(tensor_inputs(), tensor_inputs(), OUTPUTS, OUTPUTS)
def test_two_tensor_inputs_have_one_key_exactly_when_they_have_the_same_tensors_and_outputs(
    one: inputs_pb2.TensorInput,
    other: inputs_pb2.TensorInput,
    outputs: list[tuple[str, int]],
    other_outputs: list[tuple[str, int]],
) -> None:
    equal = as_sets(one) == as_sets(other) and outputs == other_outputs
    assert (key_of(one, outputs) == key_of(other, other_outputs)) is equal


@FEW
@given(tensor_inputs(), st.randoms(use_true_random=False), st.data())
def test_the_order_of_tensors_changes_nothing_and_every_byte_does(
    message: inputs_pb2.TensorInput, random: Any, data: st.DataObject
) -> None:
    mixed = list(message.tensors)
    random.shuffle(mixed)
    key = key_of(message)
    assert key_of(inputs_pb2.TensorInput(tensors=mixed)) == key
    one = data.draw(st.sampled_from(mixed))
    assume(one.raw)
    at = data.draw(st.integers(0, len(one.raw) - 1))
    one.raw = one.raw[:at] + bytes((one.raw[at] ^ data.draw(st.integers(1, 255)),)) + one.raw[at + 1 :]
    assert key_of(inputs_pb2.TensorInput(tensors=mixed)) != key


EMBEDS: Final = st.builds(
    inputs_pb2.EmbedInput,
    texts=st.lists(TEXT.filter(bool), min_size=1, max_size=3),
    normalize=st.sampled_from([None, True, False]),
)


@MANY
@given(EMBEDS, EMBEDS)
@example(inputs_pb2.EmbedInput(texts=["a"]), inputs_pb2.EmbedInput(texts=["a"], normalize=True))
def test_two_embeddings_have_one_key_exactly_when_the_engine_is_given_the_same(
    one: inputs_pb2.EmbedInput, other: inputs_pb2.EmbedInput
) -> None:
    assert (key_of(one) == key_of(other)) is (embed_request(one) == embed_request(other))


@FEW
@given(st.text(), st.text())
def test_two_tenants_have_one_namespace_exactly_when_they_have_one_name(one: str, other: str) -> None:
    question = asked(inputs_pb2.EmbedInput(texts=["a"]))
    for made in (KEYS.namespace, lambda tenant: KEYS.key(tenant, question).digest):
        assert (made(one) == made(other)) is (one == other)


@FEW
@given(
    st.sampled_from([0.0, 1e-6]),
    st.sampled_from([0.1, 1.0]),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([None, 3]),
    st.integers(0, 1000),
)
def test_the_engine_makes_no_difference_between_greedy_generations(
    temperature: float, top_p: float, top_k: int, min_p: float, seed: int | None, numbers: int
) -> None:
    logits = np.random.default_rng(numbers).integers(-3, 3, (1, 16)).astype(np.float32)
    plain = GenerateRequest(prompt="a", presence_penalty=0.5, logit_bias={3: 0.25})
    other = replace(plain, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed)
    prompt = np.array([1, 2], np.int64)
    chosen = [
        choose(logits, [SamplerState(Sampling.of(request), prompt, request.seed)]).tokens.tolist()
        for request in (plain, other)
    ]
    assert chosen[0] == chosen[1]


@FEW
@given(STOPS.filter(bool), st.lists(st.text(alphabet="ab\0", max_size=3), max_size=5))
def test_the_engine_makes_no_difference_between_orders_of_stop_strings(
    stops: list[str], pieces: list[str]
) -> None:
    shown = []
    for order in (stops, sorted(set(stops)), [*reversed(stops), *stops]):
        scanner = StopScanner(order)
        shown.append(([scanner.feed(piece) for piece in pieces], scanner.flush(), scanner.stopped))
    assert shown[0] == shown[1] == shown[2]
