"""How texts are laid out for a model, and models of other makers, which want padding."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from inference.embed.layouts import PackedLayout, PaddedLayout
from inference.embed.pipeline import Pooling
from scheduler.errors import ModelUnusable
from tests.reference.tiny_encoders import tiny_tokenizer
from tests.unit.inference.embed.encoders import embedded, opened

TABLE: NDArray[np.float32] = np.random.default_rng(5).normal(size=(64, 6)).astype(np.float32)
TEXTS = ("the water flows", "rain", "a dam is late, and the fox is late?")


def exported(
    folder: Path, pooling: str = "mean", inputs: tuple[str, ...] = ("attention_mask",), rank: int = 3
) -> Path:
    """Write a model as exporters do; its vectors of tokens are rows of a table, those of padding are poisonous."""
    folder.mkdir(parents=True, exist_ok=True)
    poison = numpy_helper.from_array(np.array(1e6, np.float32), "poison")
    constants = [
        numpy_helper.from_array(TABLE, "table"),
        poison,
        numpy_helper.from_array(np.array([2]), "last"),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("Cast", [inputs[0]], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["kept"]),
        helper.make_node("Sub", ["one", "kept"], ["dropped"]),
        helper.make_node("Mul", ["dropped", "poison"], ["poisoned"]),
        helper.make_node("Add", ["found", "poisoned"], ["last_hidden_state"]),
    ]
    constants.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    shape = ["batch", "sequence", "width"][:rank]
    graph = helper.make_graph(
        nodes,
        "exported",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in ("input_ids", *inputs)
        ],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "embed_config.json").write_text(json.dumps({"pooling": pooling}))
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("inputs", [("attention_mask",), ("attention_mask", "token_type_ids")])
def test_a_model_that_wants_padding_is_given_it_and_nothing_of_it_is_seen(
    tmp_path: Path, pooling: str, inputs: tuple[str, ...]
) -> None:
    engine = opened(exported(tmp_path, pooling, inputs))
    engine.warm_up()
    assert engine.card.dimensions == TABLE.shape[1]
    assert engine.card.batch_invariant
    output = embedded(engine, *TEXTS, normalize=False)
    for text, vector in zip(TEXTS, output.vectors, strict=True):
        rows = TABLE[engine._parts.tokenizing.read(text).ids]
        wanted = {"mean": rows.mean(axis=0), "cls": rows[0], "max": rows.max(axis=0)}[pooling]
        np.testing.assert_allclose(vector, wanted, atol=1e-5)


def test_models_that_take_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelUnusable, match="takes images, input_ids; an encoder takes attention_mask, input_ids"
    ):
        opened(exported(tmp_path / "images", inputs=("images",)))


def test_padding_is_little_in_every_bucket() -> None:
    layout = PaddedLayout("x", kinds=False)
    for length in range(1, 513):
        assert length <= layout.bucket(length) <= length * 1.25
    assert len({layout.bucket(length) for length in range(1, 513)}) < 80


def test_buckets_of_packed_texts_are_powers_of_two() -> None:
    layout = PackedLayout()
    assert [layout.bucket(length) for length in (1, 32, 33, 64, 65, 129, 512)] == [
        32,
        32,
        64,
        64,
        128,
        256,
        512,
    ]


def test_packed_texts_lie_one_after_the_other() -> None:
    texts = [np.array([7, 8, 9]), np.array([5])]
    feeds = {name: array.tolist() for name, array in PackedLayout().feeds(texts).items()}
    assert feeds == {
        "input_ids": [7, 8, 9, 5],
        "positions": [0, 1, 2, 0],
        "spread": [[0, 1, 2], [3, 0, 0]],
        "gather": [0, 1, 2, 3],
        "lengths": [3, 1],
    }


@pytest.mark.parametrize("pooling", list(Pooling))
def test_pooling_is_within_each_text(pooling: Pooling) -> None:
    hidden = np.array([[1, 5], [3, 1], [2, 3], [9, 9]], np.float32)
    texts = [np.zeros(3, np.int64), np.zeros(1, np.int64)]
    wanted = {Pooling.MEAN: [[2, 3], [9, 9]], Pooling.CLS: [[1, 5], [9, 9]], Pooling.MAX: [[3, 5], [9, 9]]}
    assert PackedLayout().pool(hidden, texts, pooling).tolist() == wanted[pooling]
