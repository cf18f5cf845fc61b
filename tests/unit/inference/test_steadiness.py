"""A model that can answer the same question in two ways is noticed, wherever in its files the cause is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models

from inference.steadiness import (
    OPERATORS,
    TRAINING_INPUT,
    draws_at_random,
    random_tokens,
    unsteady_template,
)
from scheduler.errors import ModelUnusable
from tests.unit.inference.tensor import onnx_models

ROWS, COLUMNS = 8, 8
DROPOUT: Final = ("Dropout", ["x", "ratio", "training"], ["y"])
DRAWING: Final[Mapping[str, tuple[str, Sequence[str], Sequence[str], Mapping[str, Any]]]] = {
    "bernoulli": ("Bernoulli", ["x"], ["y"], {}),
    "multinomial": ("Multinomial", ["x"], ["y"], {"sample_size": COLUMNS}),
    "normal": ("RandomNormal", [], ["y"], {"shape": [ROWS, COLUMNS]}),
    "normal like": ("RandomNormalLike", ["x"], ["y"], {}),
    "uniform": ("RandomUniform", [], ["y"], {"shape": [ROWS, COLUMNS]}),
    "uniform like": ("RandomUniformLike", ["x"], ["y"], {}),
    "dropout": (*DROPOUT, {}),
    "dropout without a ratio": ("Dropout", ["x", "", "training"], ["y"], {}),
}
"""By name: operator, inputs, outputs and attributes of a node that gives other numbers each time it is run."""
STATISTICS: Final = ["x", *("half" for _ in range(4))]
TRAINING_NORMALIZATION: Final = helper.make_node(
    "BatchNormalization", STATISTICS, ["y", "m", "v"], training_mode=1
)
STEADY: Final[Mapping[str, NodeProto]] = {
    "dropout": helper.make_node("Dropout", ["x"], ["y"]),
    "dropout with a ratio": helper.make_node("Dropout", ["x", "ratio"], ["y"]),
    "dropout whose last input is left out": helper.make_node("Dropout", ["x", "ratio", ""], ["y"]),
    "normalization": helper.make_node("BatchNormalization", STATISTICS, ["y"]),
    "names that look like operators": helper.make_node("Identity", ["x"], ["y"], name="RandomUniform"),
}
CONSTANTS: Final = [
    numpy_helper.from_array(np.array(0.5, np.float32), "ratio"),
    numpy_helper.from_array(np.array(True), "training"),
    numpy_helper.from_array(np.full(COLUMNS, 0.5, np.float32), "half"),
]


def save(path: Path, node: NodeProto) -> Path:
    """Write a model of one node: x is [ROWS, COLUMNS], and so is y."""
    element = TensorProto.INT32 if node.op_type == "Multinomial" else TensorProto.FLOAT
    x, y = (
        onnx_models.value("x", [ROWS, COLUMNS]),
        onnx_models.value("y", [ROWS, COLUMNS], element),
    )
    return onnx_models.save(path, [node], [x], [y], [one for one in CONSTANTS if one.name in node.input])


def answers(model: Path) -> set[bytes]:
    """Return the different answers of four runs with the same input in one session."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    x = np.linspace(0.2, 0.8, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    return {session.run(["y"], {"x": x})[0].tobytes() for _ in range(4)}


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("name", DRAWING)
def test_nodes_that_draw_are_noticed_and_a_seed_does_not_make_them_steady(
    tmp_path: Path, name: str, seed: int | None
) -> None:
    operator, inputs, outputs, attributes = DRAWING[name]
    node = helper.make_node(operator, inputs, outputs, **attributes)
    if seed is not None:
        # Of Dropout it is an integer, of all others a float.
        node.attribute.append(helper.make_attribute("seed", seed if operator == "Dropout" else float(seed)))
    model = save(tmp_path / "m.onnx", node)
    assert len(answers(model)) > 1
    assert draws_at_random(model)


def test_a_normalization_that_remembers_earlier_runs_is_noticed(tmp_path: Path) -> None:
    model = save(tmp_path / "m.onnx", TRAINING_NORMALIZATION)
    assert len(answers(model)) > 1
    assert draws_at_random(model)


@pytest.mark.parametrize("name", STEADY)
def test_nodes_that_draw_nothing_do_not_look_as_if_they_did(tmp_path: Path, name: str) -> None:
    model = save(tmp_path / "m.onnx", STEADY[name])
    assert len(answers(model)) == 1
    assert not draws_at_random(model)


@pytest.mark.parametrize(("operator", "place"), TRAINING_INPUT.items())
def test_dropouts_are_noticed_exactly_where_training_mode_is_connected(
    tmp_path: Path, operator: bytes, place: int
) -> None:
    inputs = ["x"] * place
    for connected in ("x", ""):
        node = helper.make_node(operator.decode(), [*inputs, connected], ["y"], domain="com.microsoft")
        assert draws_at_random(save(tmp_path / "m.onnx", node)) is (connected != "")
    assert not draws_at_random(save(tmp_path / "m.onnx", helper.make_node(operator.decode(), inputs, ["y"])))


def test_the_operators_of_the_installed_runtime_that_can_draw_are_known() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    drawing, training = set(), {}
    for schema in state.get_all_operator_schema():
        inputs = [each.name for each in schema.inputs]
        if "training_mode" in inputs:
            training[schema.name.encode()] = inputs.index("training_mode")
        elif "seed" in inputs or "seed" in schema.attributes:
            drawing.add(schema.name.encode())
    assert drawing - {b"MurmurHash3"} == OPERATORS, "a hash of the same with the same seed is the same"
    assert training == TRAINING_INPUT


def branch(node: NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "branch", [], [onnx_models.value("y", [ROWS, COLUMNS])])


def in_a_branch(path: Path, node: NodeProto) -> None:
    condition = onnx_models.value("condition", [], TensorProto.BOOL)
    steady = branch(helper.make_node("Identity", ["x"], ["y"]))
    x, y = (onnx_models.value(name, [ROWS, COLUMNS]) for name in "xy")
    fork = helper.make_node("If", ["condition"], ["y"], then_branch=steady, else_branch=branch(node))
    onnx_models.save(path, [fork], [x, condition], [y], CONSTANTS)


def in_a_loop(path: Path, node: NodeProto) -> None:
    model = onnx.load(onnx_models.loop(path))
    body = next(each for each in model.graph.node if each.op_type == "Loop").attribute[0].g
    fork = helper.make_node(
        "If", ["go"], ["drawn"], then_branch=branch(node), else_branch=branch(STEADY["dropout"])
    )
    body.node.append(fork)
    path.write_bytes(model.SerializeToString())


def in_a_function(path: Path, node: NodeProto) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Noise", ["x", "ratio", "training"], ["y"], [node], opsets[:1])
    x, y = (onnx_models.value(name, [ROWS, COLUMNS]) for name in "xy")
    call = helper.make_node("Noise", ["x", "ratio", "training"], ["y"], domain="own")
    graph = helper.make_graph([call], "graph", [x], [y], CONSTANTS)
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=9)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("place", [in_a_branch, in_a_loop, in_a_function])
@pytest.mark.parametrize("operator", ["RandomNormalLike", "Dropout"])
def test_nodes_in_branches_loops_and_functions_are_noticed(tmp_path: Path, place: Any, operator: str) -> None:
    path = tmp_path / "m.onnx"
    inputs = ["x", "ratio", "training"] if operator == "Dropout" else ["x"]
    place(path, helper.make_node(operator, inputs, ["y"]))
    assert draws_at_random(path)
    place(path, helper.make_node("Dropout", ["x"], ["y"]))
    assert not draws_at_random(path)


def test_weights_are_not_looked_at(tmp_path: Path) -> None:
    field = b"\x22" + bytes((len(b"RandomNormal"),)) + b"RandomNormal"
    weights = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[len(field)], raw_data=field)
    constant = helper.make_node("Constant", [], ["c"], value=weights)
    x, y = onnx_models.value("x", [1]), onnx_models.value("y", [1])
    model = onnx_models.save(
        tmp_path / "m.onnx", [constant, helper.make_node("Identity", ["x"], ["y"])], [x], [y], [weights]
    )
    assert model.read_bytes().count(field) == 2
    assert not draws_at_random(model)


@pytest.mark.parametrize("content", [None, b"", b"\x3b", b"\x3a\x7f\x00", b"\x3a"])
def test_a_graph_that_cannot_be_read_makes_the_model_unusable(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelUnusable, match="cannot be read"):
        draws_at_random(tmp_path / "m.onnx")


VOCABULARY: Final = {token: number for number, token in enumerate(("a", "b", "c", "d", "ab", "cd", "abcd"))}
MERGES: Final = [("a", "b"), ("c", "d"), ("ab", "cd")]


def tokenizer(folder: Path, dropout: float | None, vocabulary: Mapping[str, int] = VOCABULARY) -> Path:
    """Write the tokenizer of a folder, and tell where it is."""
    path = folder / "tokenizer.json"
    Tokenizer(models.BPE(dict(vocabulary), MERGES, dropout=dropout)).save(str(path))
    return path


def ways(path: Path) -> int:
    """Return how many tokens a tokenizer makes of one text in a hundred times."""
    opened = Tokenizer.from_file(str(path))
    return len({tuple(opened.encode("abcdabcd").ids) for _ in range(100)})


@pytest.mark.parametrize(("dropout", "random"), [(None, False), (0.0, False), (0.5, True)])
def test_a_tokenizer_that_leaves_out_merges_at_random_is_noticed(
    tmp_path: Path, dropout: float | None, random: bool
) -> None:
    path = tokenizer(tmp_path, dropout)
    content = path.read_text()
    for written in (
        content,
        json.dumps(json.loads(content)),
        content.replace('"dropout"', r'"dro\u0070out"'),
    ):
        path.write_text(written)
        assert (ways(path) > 1) is random
        assert random_tokens(tmp_path) is random


@pytest.mark.parametrize("written", ["5e-1", "50e-2", "0.5"])
def test_the_share_of_merges_that_is_left_out_can_be_written_in_any_way(tmp_path: Path, written: str) -> None:
    path = tokenizer(tmp_path, 0.25)
    content = path.read_text()
    path.write_text(content.replace("0.25", written))
    assert path.read_text() != content
    assert ways(path) > 1
    assert random_tokens(tmp_path)


@pytest.mark.parametrize("number", [7, 70, 700])
def test_a_token_of_that_name_draws_nothing(tmp_path: Path, number: int) -> None:
    path = tokenizer(tmp_path, None, {**VOCABULARY, "dropout": number})
    assert f'"dropout":{number}' in path.read_text().replace(" ", "")
    assert not random_tokens(tmp_path)
    path.write_text(path.read_text().replace('"dropout": null', '"dropout": 0.5'))
    assert random_tokens(tmp_path)


def test_unigram_tokenizers_read_from_a_file_sample_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokens = [("<unk>", 0.0), *((token, -1.0) for token in VOCABULARY)]
    Tokenizer(models.Unigram(tokens, 0, False, alpha=0.5)).save(str(path))
    content = json.loads(path.read_bytes())
    content["model"]["alpha"] = 0.5
    path.write_text(json.dumps(content))
    assert ways(path) == 1
    assert not random_tokens(tmp_path)


def test_a_folder_without_a_tokenizer_has_none_that_draws(tmp_path: Path) -> None:
    assert not random_tokens(tmp_path)


@pytest.mark.parametrize(
    "content", [b'{"model": {"dropout": 0.5', b'["dropout", {"dropout": 0.5}]', b'"dropout": \xff']
)
def test_a_tokenizer_that_cannot_be_read_makes_the_model_unusable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelUnusable, match=r"tokenizer\.json cannot be read"):
        random_tokens(tmp_path)


@pytest.mark.parametrize(
    ("source", "unsteady"),
    [
        ("{{ messages[0].content }}", False),
        ("{% for one in messages %}{{ one.content | trim }}{% break %}{% endfor %}", False),
        ("{# strftime_now #}{{ 'Today' }}", False),
        ("{{ strftime_now('%d %B %Y') }}", True),
        ("{% if not date is defined %}{% set date = strftime_now('%d') %}{% endif %}{{ date }}", True),
        ("{% macro today() %}{{ strftime_now('%d') }}{% endmacro %}{{ today() }}", True),
        ("{{ ['a', 'b'] | random }}", True),
        ("{{ ['ab', 'cd'] | map('random') | join }}", True),
        ("{{ lipsum() }}", True),
    ],
)
def test_templates_that_tell_the_time_or_throw_dice_are_noticed(
    tmp_path: Path, source: str, unsteady: bool
) -> None:
    (tmp_path / "chat_template.jinja").write_text(source)
    assert unsteady_template(tmp_path) is unsteady
    (tmp_path / "chat_template.jinja").unlink()
    for content in (
        source,
        [{"name": "tool_use", "template": "{{ 1 }}"}, {"name": "default", "template": source}],
    ):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": content}))
        assert unsteady_template(tmp_path) is unsteady


def test_a_folder_without_a_template_has_none_that_tells_the_time(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{}")
    assert not unsteady_template(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    assert not unsteady_template(tmp_path)


@pytest.mark.parametrize("content", ["{% if %}", "{{"])
def test_a_template_that_cannot_be_read_makes_the_model_unusable(tmp_path: Path, content: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(content)
    with pytest.raises(ModelUnusable, match="chat template"):
        unsteady_template(tmp_path)
