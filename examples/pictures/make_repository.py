"""Make a model repository that reads text in pictures, out of three networks and four small graphs between them.

    python examples/pictures/make_repository.py /tmp/pictures
    forebay up --model text_finder=/tmp/pictures/text_finder --model line_reader=/tmp/pictures/line_reader
    python examples/pictures/read_text.py picture.png

The networks are PP-OCR's, from the package rapidocr-onnxruntime (Apache-2.0), which is fetched as data: nothing of it
is run. What goes before, between and behind them is ONNX as well, so that it runs where the networks run:

    text_finder   picture ─ picture_pixels ─ detector ─ text
    line_reader   line ─ line_pixels ─┬─ direction ─┬─ turning ─ recogniser ─ spelling ─ characters, confidence
                                      └─────────────┘

Both are ensembles. A line goes in as bytes and comes out as characters: the scores of 6,625 characters at every place
of it, a megabyte a line, never leave the process. Lines of one width that come at the same time share runs.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.fetch import fetch_wheel_file

PACKAGE: Final = "rapidocr-onnxruntime"
VERSION: Final = "1.4.4"
NETWORKS: Final = {
    "detector": (
        "ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "direction": (
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
    ),
    "recogniser": (
        "ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
}
HEIGHT: Final = 48
"""Of a line, in pixels: what two of the networks were trained on."""
BEGINNING: Final = 192
"""Columns of a line by which its direction is told."""
SURE: Final = 0.9
"""How likely a line must be upside down to be turned."""
CACHE: Final = Path("~/.cache/forebay").expanduser()


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model; shapes are without the batch dimension, -1 is any length."""

    name: str
    type: str
    dims: Sequence[int]

    def __str__(self) -> str:
        dims = ", ".join(map(str, self.dims))
        return f'{{ name: "{self.name}" data_type: TYPE_{self.type} dims: [ {dims} ] }}'


PICTURE: Final = Tensor("picture", "UINT8", (-1, -1, 3))
LINE: Final = Tensor("line", "UINT8", (HEIGHT, -1, 3))
TEXT: Final = Tensor("text", "FP32", (1, -1, -1))
CHARACTERS: Final = Tensor("characters", "STRING", (-1,))
CONFIDENCE: Final = Tensor("confidence", "FP32", (1,))

_ELEMENTS: Final = {"UINT8": TensorProto.UINT8, "FP32": TensorProto.FLOAT, "STRING": TensorProto.STRING}


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Write a small graph; constants are nodes of it."""

    def value(tensor: Tensor) -> onnx.ValueInfoProto:
        shape = ["batch", *(f"{tensor.name}_{at}" if n < 0 else n for at, n in enumerate(tensor.dims))]
        return helper.make_tensor_value_info(tensor.name, _ELEMENTS[tensor.type], shape)

    graph = helper.make_graph(
        nodes, path.parent.parent.name, [value(t) for t in inputs], [value(t) for t in outputs]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def constant(name: str, values: object) -> onnx.NodeProto:
    """Make a node of a constant."""
    tensor = numpy_helper.from_array(np.asarray(values), name)
    return helper.make_node("Constant", [], [name], value=tensor)


def to_pixels(source: str, target: str) -> list[onnx.NodeProto]:
    """Return nodes from bytes of RGB, [batch, height, width, 3], to what the networks take: blue first, channels before
    rows, -1 to 1.
    """
    return [
        constant("blue_first", np.array([2, 1, 0])),
        constant("middle", np.float32(127.5)),
        helper.make_node("Cast", [source], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["numbers", "blue_first"], ["swapped"], axis=3),
        helper.make_node("Transpose", ["swapped"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "middle"], ["centred"]),
        helper.make_node("Div", ["centred", "middle"], [target]),
    ]


def save_picture_pixels(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Write what goes before the detector."""
    signature = [PICTURE], [Tensor("pixels", "FP32", (3, -1, -1))]
    save(path, to_pixels("picture", "pixels"), *signature)
    return signature


def save_line_pixels(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Write what makes pixels of a line, and of its beginning."""
    nodes = [
        *to_pixels("line", "pixels"),
        constant("first", np.array([0])),
        constant("last", np.array([BEGINNING])),
        constant("columns", np.array([3])),
        helper.make_node("Slice", ["pixels", "first", "last", "columns"], ["beginning"]),
    ]
    outputs = [Tensor("pixels", "FP32", (3, HEIGHT, -1)), Tensor("beginning", "FP32", (3, HEIGHT, -1))]
    save(path, nodes, [LINE], outputs)
    return [LINE], outputs


def save_turning(path: Path) -> tuple[list[Tensor], list[Tensor]]:
    """Write what turns a line by half a circle where it is upside down."""
    furthest = np.iinfo(np.int64).min
    nodes = [
        constant("from_the_end", np.array([-1, -1])),
        constant("to_the_beginning", np.array([furthest, furthest])),
        constant("rows_and_columns", np.array([2, 3])),
        constant("backwards", np.array([-1, -1])),
        helper.make_node(
            "Slice",
            ["pixels", "from_the_end", "to_the_beginning", "rows_and_columns", "backwards"],
            ["turned"],
        ),
        constant("second", np.array([1])),
        constant("sure", np.float32(SURE)),
        constant("behind", np.array([2, 3])),
        helper.make_node("Gather", ["directions", "second"], ["upside_down"], axis=1),
        helper.make_node("Greater", ["upside_down", "sure"], ["to_turn"]),
        helper.make_node("Unsqueeze", ["to_turn", "behind"], ["to_turn_all"]),
        helper.make_node("Where", ["to_turn_all", "turned", "pixels"], ["upright"]),
    ]
    inputs = [Tensor("pixels", "FP32", (3, HEIGHT, -1)), Tensor("directions", "FP32", (2,))]
    outputs = [Tensor("upright", "FP32", (3, HEIGHT, -1))]
    save(path, nodes, inputs, outputs)
    return inputs, outputs


def save_spelling(path: Path, characters: Sequence[str]) -> tuple[list[Tensor], list[Tensor]]:
    """Write what makes characters of scores: the best of each place, unless it is none or that of the place before.

    Scores are of no character first, then of `characters` (connectionist temporal classification, Graves et al. 2006).
    """
    nodes = [
        helper.make_node("ArgMax", ["scores"], ["best"], axis=2, keepdims=0),
        helper.make_node("ReduceMax", ["scores"], ["best_scores"], axes=[2], keepdims=0),
        constant("none", np.array([0])),
        constant("one_before", np.array([0, 1, 0, 0])),
        constant("begin", np.array([0])),
        constant("but_the_last", np.array([-1])),
        constant("places", np.array([1])),
        helper.make_node("Pad", ["best", "one_before"], ["shifted"]),
        helper.make_node("Slice", ["shifted", "begin", "but_the_last", "places"], ["before"]),
        helper.make_node("Equal", ["best", "before"], ["repeated"]),
        helper.make_node("Where", ["repeated", "none", "best"], ["spelled"]),
        constant("alphabet", np.array(["", *characters], dtype=object)),
        helper.make_node("Gather", ["alphabet", "spelled"], ["characters"]),
        helper.make_node("Greater", ["spelled", "none"], ["counted"]),
        helper.make_node("Cast", ["counted"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["weights", "best_scores"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "places"], ["sum"]),
        helper.make_node("ReduceSum", ["weights", "places"], ["count"]),
        constant("at_least_one", np.float32(1)),
        helper.make_node("Max", ["count", "at_least_one"], ["divisor"]),
        helper.make_node("Div", ["sum", "divisor"], ["confidence"]),
    ]
    inputs = [Tensor("scores", "FP32", (-1, len(characters) + 1))]
    save(path, nodes, inputs, [CHARACTERS, CONFIDENCE])
    return inputs, [CHARACTERS, CONFIDENCE]


def configuration(inputs: Sequence[Tensor], outputs: Sequence[Tensor], rows: int, behaviour: str) -> str:
    """Return a config.pbtxt."""
    return (
        f"max_batch_size: {rows}\n"
        f"input [ {', '.join(map(str, inputs))} ]\noutput [ {', '.join(map(str, outputs))} ]\n{behaviour}\n"
    )


def ensemble(steps: Sequence[tuple[str, dict[str, str], dict[str, str]]]) -> str:
    """Return the part of a config.pbtxt that says which models run: the name of each, its inputs and its outputs with
    the names that they have in the ensemble.
    """

    def names(field: str, mapping: dict[str, str]) -> str:
        return " ".join(f'{field} {{ key: "{own}" value: "{outer}" }}' for own, outer in mapping.items())

    lines = [
        f'  step {{ model_name: "{model}" model_version: -1 {names("input_map", taken)} {names("output_map", made)} }}'
        for model, taken, made in steps
    ]
    return "\n".join(['platform: "ensemble"', "ensemble_scheduling {", *lines, "}"])


def characters_of(recogniser: Path) -> list[str]:
    """Return the characters whose scores the recogniser gives, in order: they are in the file."""
    properties = {each.key: each.value for each in onnx.load(str(recogniser)).metadata_props}
    return [*properties["character"].splitlines(), " "]


def make(folder: Path) -> None:
    """Write the repository."""

    def write(name: str, text: str) -> None:
        (folder / name / "config.pbtxt").write_text(text)

    def version(name: str) -> Path:
        (folder / name / "1").mkdir(parents=True)
        return folder / name / "1" / "model.onnx"

    for name, (file, sha256) in NETWORKS.items():
        member = f"rapidocr_onnxruntime/models/{file}"
        found = fetch_wheel_file(PACKAGE, VERSION, member, sha256, CACHE, lambda said: print(said))
        shutil.copyfile(found, version(name))
    together = "dynamic_batching { }"
    characters = characters_of(folder / "recogniser" / "1" / "model.onnx")
    for name, (inputs, outputs) in {
        "picture_pixels": save_picture_pixels(version("picture_pixels")),
        "line_pixels": save_line_pixels(version("line_pixels")),
        "turning": save_turning(version("turning")),
        "spelling": save_spelling(version("spelling"), characters),
    }.items():
        write(name, configuration(inputs, outputs, 16, together))
    # The networks have an input x, and outputs that are called after the layer which makes them.
    found_text, directions, scores = "sigmoid_0.tmp_0", "save_infer_model/scale_0.tmp_1", "softmax_11.tmp_0"
    for name, taken, made in (
        ("detector", Tensor("x", "FP32", (3, -1, -1)), Tensor(found_text, "FP32", (1, -1, -1))),
        ("direction", Tensor("x", "FP32", (3, -1, -1)), Tensor(directions, "FP32", (2,))),
        ("recogniser", Tensor("x", "FP32", (3, -1, -1)), Tensor(scores, "FP32", (-1, len(characters) + 1))),
    ):
        write(name, configuration([taken], [made], 16, together))
    version("text_finder").parent.mkdir(exist_ok=True)
    version("line_reader").parent.mkdir(exist_ok=True)
    finding = ensemble(
        [
            ("picture_pixels", {"picture": "picture"}, {"pixels": "pixels"}),
            ("detector", {"x": "pixels"}, {found_text: "text"}),
        ]
    )
    reading = ensemble(
        [
            ("line_pixels", {"line": "line"}, {"pixels": "pixels", "beginning": "beginning"}),
            ("direction", {"x": "beginning"}, {directions: "directions"}),
            ("turning", {"pixels": "pixels", "directions": "directions"}, {"upright": "upright"}),
            ("recogniser", {"x": "upright"}, {scores: "scores"}),
            (
                "spelling",
                {"scores": "scores"},
                {"characters": "characters", "confidence": "confidence"},
            ),
        ]
    )
    write("text_finder", configuration([PICTURE], [TEXT], 16, finding))
    write("line_reader", configuration([LINE], [CHARACTERS, CONFIDENCE], 16, reading))


def main() -> None:
    """Make the repository in a folder that is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True)
    make(folder)
    print(f"{folder} has {', '.join(sorted(path.name for path in folder.iterdir()))}")


if __name__ == "__main__":
    main()
