import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from forebay.compat.kserve import model_config_pb2 as pb
from inference.repository.outline import MAX_DEPTH, MAX_TOKENS, Malformed, Place, outline_of

CONFIG = pb.ModelConfig.DESCRIPTOR


def test_fields_are_found_by_their_path() -> None:
    text = """# a comment with { in it
name: "a" 'b'
input [
  { name: "x" dims: [ 1, -1 ] },
  < name: "y"; dims: 3, dims: 4 >
]
input { name: "z" }
parameters { key: "one" value: { string_value: "}" } }
"""
    outline = outline_of(text, CONFIG)
    assert outline.place(("name",)) == Place(2, 1)
    assert outline.place(("input", 0, "name")) == Place(4, 5)
    assert outline.place(("input", 0, "dims", 1)) == Place(4, 26)
    assert outline.place(("input", 1, "dims", 1)) == Place(5, 31)
    assert outline.place(("input", 2, "name")) == Place(7, 9)
    assert outline.place(("parameters", 0, "value", "string_value")) == Place(8, 34)
    assert outline.unknown == []


def test_what_is_not_there_is_where_it_would_be() -> None:
    outline = outline_of("\n input { }", CONFIG)
    assert outline.place(("input", 0, "reshape", "shape")) == Place(2, 8)
    assert outline.place(("output", 0)) == Place(1, 1)


def test_entries_of_maps_are_found_by_their_key() -> None:
    text = 'parameters { key: "a" }\nparameters [ { value { } key: "b" } ]'
    outline = outline_of(text, CONFIG)
    assert str(outline.place(outline.entry(("parameters",), "b"))) == "2:14"
    assert outline.entry(("parameters",), "c") == ("parameters",)


def test_unknown_fields_are_named_with_what_they_are_in() -> None:
    text = "sequence_batching { iterative_sequence: true }\nnew_thing [ { name: 1 }, { deep < x: 'y' > } ]"
    assert [(each.name, str(each.place)) for each in outline_of(text, CONFIG).unknown] == [
        ("sequence_batching.iterative_sequence", "1:21"),
        ("new_thing", "2:1"),
    ]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("input {", "1:8", "'}' is missing"),
        ("input { >", "1:9", "expected the name of a field"),
        ("name: }", "1:7", "expected a value"),
        ("input [ { } { } ]", "1:13", "expected ',' or ']'"),
        ("\n}", "2:1", "expected the name of a field"),
        ("name:", "1:6", "expected a value"),
        ("[com.example]: 1", "1:1", "expected the name of a field"),
    ],
)
def test_what_has_no_structure_is_told_with_its_place(text: str, place: str, what: str) -> None:
    with pytest.raises(Malformed, match=what.replace("]", r"\]")) as raised:
        outline_of(text, CONFIG)
    assert str(raised.value.place) == place


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(Malformed, match=f"nested more than {MAX_DEPTH} deep"):
        outline_of("a {" * 10_000, CONFIG)


def test_more_than_anyone_writes_is_refused_at_once() -> None:
    with pytest.raises(Malformed, match=f"more than {MAX_TOKENS} words and marks") as raised:
        outline_of("a: 1\n" * MAX_TOKENS, CONFIG)
    assert raised.value.place == Place(MAX_TOKENS // 3 + 1, 1)


@given(st.text(alphabet=st.sampled_from(list("ab:{}<>[],;\"'\\#\n -1.name input dims")), max_size=60))
def test_any_text_either_has_an_outline_or_is_malformed(text: str) -> None:
    try:
        outline_of(text, CONFIG)
    except Malformed:
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text, pb.ModelConfig(), allow_unknown_field=True)


NAMES = st.text(max_size=8)
MESSAGES = st.builds(
    pb.ModelConfig,
    name=NAMES,
    max_batch_size=st.integers(-(2**31), 2**31 - 1),
    input=st.lists(
        st.builds(pb.ModelInput, name=NAMES, dims=st.lists(st.integers(-1, 9)), data_type=st.integers(0, 14)),
        max_size=3,
    ),
    parameters=st.dictionaries(
        NAMES.filter(bool), st.builds(pb.ModelParameter, string_value=NAMES), max_size=3
    ),
)


@given(MESSAGES, st.booleans(), st.booleans(), st.booleans())
def test_every_field_that_protobuf_writes_is_found(
    message: pb.ModelConfig, one_line: bool, pointed: bool, short: bool
) -> None:
    text = text_format.MessageToString(
        message, as_one_line=one_line, pointy_brackets=pointed, use_short_repeated_primitives=short
    )
    outline = outline_of(text, CONFIG)
    assert outline.unknown == []
    for index, each in enumerate(message.input):
        assert ("input", index) in outline.places
        for place in range(len(each.dims)):
            assert ("input", index, "dims", place) in outline.places
    assert len(outline.keys) == len(message.parameters)
