from pathlib import Path

import pytest

from inference.repository.definition import ModelDefinition
from scheduler.errors import ModelUnusable
from tests.unit.inference.repository.folders import configured, defined

HEAD = """platform: "ensemble"
input [ { name: "in" data_type: TYPE_FP32 dims: 4 } ]
output [ { name: "out" data_type: TYPE_FP32 dims: 4 } ]
"""


def step(model: str, inputs: str, outputs: str, version: str = "-1") -> str:
    """Write a step on one line; maps are `name=tensor name=tensor`."""
    maps = "".join(
        f' {field} {{ key: "{pair.partition("=")[0]}" value: "{pair.partition("=")[2]}" }}'
        for field, pairs in (("input_map", inputs), ("output_map", outputs))
        for pair in pairs.split()
    )
    return f'step {{ model_name: "{model}" model_version: {version}{maps} }}\n'


def ensemble(*steps: str) -> str:
    """Write a configuration whose steps begin at line 5."""
    return f"{HEAD}ensemble_scheduling {{\n{''.join(steps)}}}\n"


def read(folder: Path, text: str, said: list[str] | None = None) -> ModelDefinition:
    return defined(configured(folder / "e", text), (said if said is not None else []).append)


def test_steps_come_in_an_order_in_which_they_can_run(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        ensemble(
            step("last", "a=mid b=other", "z=out"),
            step("second", "a=first", "z=mid", version="3"),
            step("first", "a=in", "z=first y=other"),
        ),
    )
    assert [(each.model, each.version) for each in found.ensemble] == [
        ("first", 0),
        ("second", 3),
        ("last", 0),
    ]
    assert found.ensemble[1].inputs == {"a": "first"}
    assert found.ensemble[2].place == f"{tmp_path / 'e' / 'config.pbtxt'}:5:6"


def test_what_leads_to_no_output_is_left_out_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    text = ensemble(
        step("a", "x=in", "z=out"), step("b", "x=in", "z=nobody"), step("c", "x=nobody", "z=wants")
    )
    text = text.replace("dims: 4 } ]\no", 'dims: 4 }, { name: "in2" data_type: TYPE_FP32 dims: 4 } ]\no')
    assert [each.model for each in read(tmp_path, text, said).ensemble] == ["a"]
    file = tmp_path / "e" / "config.pbtxt"
    assert sorted(said) == [
        f"{file}:2:54: input 'in2' is used by no step",
        f"{file}:6:6: the step 'b' leads to no output and is left out",
        f"{file}:7:6: the step 'c' leads to no output and is left out",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (ensemble(step("a", "x=in", "z=mid")), "3:12: no step makes 'out'"),
        (ensemble(step("a", "x=what", "z=out")), "5:52: nothing makes tensor 'what'"),
        (
            ensemble(step("a", "x=in", "z=out"), step("b", "x=in", "z=out")),
            "6:88: tensor 'out' is made twice",
        ),
        (ensemble(step("a", "x=in", "z=out y=out")), "5:"),
        (ensemble(step("a", "x=in", "z=in y=out")), "5:88: tensor 'in' is made twice"),
        (
            ensemble(step("a", "x=one", "z=two"), step("b", "x=two", "z=one"), step("c", "x=in", "z=out")),
            "5:6: steps wait for each other in a circle: a, b",
        ),
        (ensemble(step("e", "x=in", "z=out")), "5:8: an ensemble cannot be a step of itself"),
        (ensemble(step("../a", "x=in", "z=out")), "5:8: '../a' is not the name of a model"),
        (ensemble(step("..", "x=in", "z=out")), "5:8: '..' is not the name of a model"),
        (ensemble(step("", "x=in", "z=out")), "5:6: a step has no model_name"),
        (ensemble(step("a", "x=in", "z=out", version="-2")), "5:24: a version is 1 or more"),
        (ensemble(step("a", "", "z=out")), "5:6: step 'a' has no input_map"),
        (ensemble(step("a", "x=in", "")), "5:6: step 'a' has no output_map"),
        (ensemble(step("a", "x=", "z=out")), "5:42: an entry of input_map names no tensor"),
        (ensemble(*[step("a", "x=in", "z=out")] * 257), "261:6: an ensemble has 256 steps at most"),
        (HEAD, "1:1: an ensemble needs ensemble_scheduling"),
        (
            'platform: "onnxruntime_onnx"\nensemble_scheduling { }',
            "1:1: a model with ensemble_scheduling has",
        ),
        ("ensemble_scheduling { }", "1:1: an ensemble declares its inputs and outputs"),
    ],
)
def test_a_graph_with_a_fault_is_refused_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ModelUnusable) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'e' / 'config.pbtxt'}:{fault}")
