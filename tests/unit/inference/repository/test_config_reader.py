import os
import struct
from pathlib import Path

import numpy as np
import pytest

from inference.engine import Signature
from inference.repository.configuration import MAX_BYTES
from inference.repository.definition import (
    ControlInput,
    ControlKind,
    DynamicBatching,
    Instances,
    ModelDefinition,
    VersionChoice,
    VersionPolicy,
)
from scheduler.errors import ModelUnusable
from tests.unit.inference.repository.folders import configured, defined, unheard


def read(folder: Path, text: str, said: list[str] | None = None) -> ModelDefinition:
    return defined(configured(folder, text), (said if said is not None else []).append)


WHOLE = """
name: "model"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: 16
version_policy: { specific { versions: [ 3, 1 ] } }
default_model_filename: "net.onnx"
input [
  { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: true },
  { name: "scale" data_type: TYPE_FP32 dims: [ 1 ] optional: true reshape { shape: [ ] } }
]
output { name: "scores" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: 4 } label_filename: "labels.txt" }
dynamic_batching { preferred_batch_size: [ 8, 4 ] max_queue_delay_microseconds: 1500 preserve_ordering: true }
instance_group [ { count: 2 kind: KIND_CPU }, { kind: KIND_GPU gpus: [ 1, 0 ] } ]
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
"""


def test_a_configuration_becomes_a_definition(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "labels.txt").write_text("cat\ndog\n")
    said: list[str] = []
    found = read(folder, WHOLE, said)
    assert said == []
    assert (found.name, found.max_batch_size, found.declared, found.file) == ("model", 16, True, "net.onnx")
    assert [each.signature for each in found.inputs] == [
        Signature("ids", "INT64", (-1,)),
        Signature("scale", "FP32", (1,)),
    ]
    assert [(each.ragged, each.optional, each.reshape) for each in found.inputs] == [
        (True, False, None),
        (False, True, ()),
    ]
    [output] = found.outputs
    assert (output.signature, output.reshape, output.labels) == (
        Signature("scores", "FP32", (2, 2)),
        (4,),
        ("cat", "dog"),
    )
    assert output.place == f"{folder / 'config.pbtxt'}:12:8"
    assert found.batching == DynamicBatching((4, 8), 0.0015, True)
    assert found.instances == (Instances(2, "cpu"), Instances(1, "gpu", (0, 1)))
    assert found.versions == VersionPolicy(VersionChoice.SPECIFIC, versions=(1, 3))


def test_an_empty_configuration_has_the_defaults(tmp_path: Path) -> None:
    assert read(tmp_path / "model", "") == ModelDefinition(name="model", declared=True)


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("version_policy { latest { num_versions: 3 } }", VersionPolicy(VersionChoice.LATEST, 3)),
        ("version_policy { latest { } }", VersionPolicy()),
        ("version_policy { all { } }", VersionPolicy(VersionChoice.ALL)),
        ("version_policy { }", VersionPolicy()),
    ],
)
def test_version_policies(tmp_path: Path, text: str, policy: VersionPolicy) -> None:
    assert read(tmp_path, text).versions == policy


SEQUENCES = """
max_batch_size: 4
sequence_batching {
  max_sequence_idle_microseconds: 5000000
  oldest { max_candidate_sequences: 4 max_queue_delay_microseconds: 100 }
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } ] },
    { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY fp32_false_true: [ -1, 1 ] } ] },
    { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
  state [
    { input_name: "in" output_name: "out" data_type: TYPE_FP32 dims: [ 2, -1 ]
      initial_state { data_type: TYPE_FP32 dims: [ 2, 2 ] data_file: "first" name: "s" } },
    { input_name: "i2" output_name: "o2" data_type: TYPE_STRING dims: 1
      initial_state { data_type: TYPE_STRING dims: 1 zero_data: true } },
    { input_name: "i3" output_name: "o3" data_type: TYPE_INT8 dims: 1 }
  ]
}
"""


def test_sequences_with_controls_and_initial_states(tmp_path: Path) -> None:
    (tmp_path / "initial_state").mkdir()
    (tmp_path / "initial_state" / "first").write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    found = read(tmp_path, SEQUENCES)
    assert found.batching == DynamicBatching(longest_delay_s=0.0001)
    assert found.sequences is not None
    assert found.sequences.longest_idle_s == 5
    assert found.sequences.controls == (
        ControlInput("START", ControlKind.START, "INT32", 0, 1),
        ControlInput("END", ControlKind.END, "BOOL", 0, 1),
        ControlInput("READY", ControlKind.READY, "FP32", -1, 1),
        ControlInput("ID", ControlKind.ID, "UINT64"),
    )
    first, second, third = found.sequences.states
    assert (first.input, first.output, first.datatype, first.shape) == ("in", "out", "FP32", (2, -1))
    assert first.initial is not None
    assert first.initial.tolist() == [[1, 2], [3, 4]]
    assert second.initial is not None
    assert second.initial.tolist() == [b""]
    assert third.initial is None


def test_without_data_no_file_but_labels_is_read(tmp_path: Path) -> None:
    found = defined(configured(tmp_path, SEQUENCES), unheard, data=False)
    assert found.sequences is not None
    assert found.sequences.states[0].initial is None


def test_sequences_without_a_strategy_share_runs_by_default(tmp_path: Path) -> None:
    found = read(tmp_path, "max_batch_size: 2 sequence_batching { }")
    assert found.batching == DynamicBatching()
    assert read(tmp_path, "sequence_batching { }").batching is None


WARMUP = """
max_batch_size: 4
model_warmup {
  name: "one" batch_size: 2 count: 3
  inputs { key: "zeros" value { data_type: TYPE_FP32 dims: 2 zero_data: true } }
  inputs { key: "random" value { data_type: TYPE_INT64 dims: [ 2, 2 ] random_data: true } }
  inputs { key: "bf16" value { data_type: TYPE_BF16 dims: 3 random_data: true } }
  inputs { key: "row" value { data_type: TYPE_INT16 dims: 2 input_data_file: "row" } }
  inputs { key: "rows" value { data_type: TYPE_INT16 dims: 2 input_data_file: "rows" } }
  inputs { key: "texts" value { data_type: TYPE_STRING dims: 1 input_data_file: "texts" } }
}
"""


def test_warm_up_input_is_made_up_or_read(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "row").write_bytes(struct.pack("<2h", 1, 2))
    (tmp_path / "warmup" / "rows").write_bytes(struct.pack("<4h", 1, 2, 3, 4))
    (tmp_path / "warmup" / "texts").write_bytes(struct.pack("<I2sI0s", 2, b"hi", 0, b""))
    [sample] = read(tmp_path, WARMUP).warmup
    assert (sample.name, sample.count) == ("one", 3)
    assert sample.inputs["zeros"].tolist() == [[0, 0], [0, 0]]
    assert sample.inputs["random"].dtype == np.int64
    assert sample.inputs["random"].shape == (2, 2, 2)
    assert sample.inputs["bf16"].shape == (2, 3)
    assert sample.inputs["row"].tolist() == [[1, 2], [1, 2]]
    assert sample.inputs["rows"].tolist() == [[1, 2], [3, 4]]
    assert sample.inputs["texts"].tolist() == [[b"hi"], [b""]]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("response_cache { enable: true }", "1:1: response_cache is not supported and has no effect"),
        (
            "dynamic_batching { priority_levels: 2 }",
            "1:20: dynamic_batching.priority_levels is not supported",
        ),
        ("dynamic_batching { }", "1:1: dynamic_batching has no effect without max_batch_size"),
        ("instance_group { kind: KIND_MODEL }", "1:18: KIND_MODEL is not supported: taken as KIND_AUTO"),
        ('runtime: "lib.so"', "1:1: runtime has no effect"),
        ("model_transaction_policy { decoupled: true }", "1:28: decoupled has no effect"),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: 1 allow_ragged_batch: true }',
            "1:48: allow_ragged_batch has no effect without max_batch_size",
        ),
    ],
)
def test_what_has_no_effect_is_named_with_its_place(tmp_path: Path, text: str, warning: str) -> None:
    said: list[str] = []
    read(tmp_path, text, said)
    assert any(each.startswith(f"{tmp_path / 'config.pbtxt'}:{warning}") for each in said), said


INPUT = 'name: "x" data_type: TYPE_FP32'
CONTROL = 'sequence_batching { control_input { name: "a" control { '
STATE = 'sequence_batching { state { input_name: "i" output_name: "o" data_type: TYPE_FP32 dims: 2 initial_state { '


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('name: "other"', "1:1: the name 'other' is not that of the folder"),
        ('platform: "tensorrt_plan"', "1:1: platform 'tensorrt_plan' is not supported"),
        ('\n backend: "python"', "2:2: backend 'python' is not supported"),
        ('platform: "ensemble"', "1:1: an ensemble needs ensemble_scheduling"),
        ("max_batch_size: -1", "1:1: expected 0 to 65536, not -1"),
        ("max_batch_size: 9999999999", "1:17: "),
        ("max_batch_size: many", "1:17: "),
        ("max_batch_size: 1 max_batch_size: 2", "1:"),
        ("input { ", "1:9: '}' is missing"),
        (f"input {{ {INPUT} }}", "1:7: input 'x' has no dims"),
        (f"input {{ {INPUT} dims: [ 1, 0 ] }}", "1:51: a length is 1 or more, or -1 for any, not 0"),
        ("input { data_type: TYPE_FP32 dims: 1 }", "1:7: an input has no name"),
        ('input { name: "x" dims: 1 }', "1:7: an element type is missing"),
        ('input { name: "x" data_type: TYPE_FP8 dims: 1 }', "1:30: "),
        (f"input [ {{ {INPUT} dims: 1 }}, {{ {INPUT} dims: 1 }} ]", "1:55: input 'x' is there twice"),
        (
            f"input {{ {INPUT} dims: 4 reshape {{ shape: 3 }} }}",
            "1:48: [3] has not as many elements as dims [4]",
        ),
        (f"input {{ {INPUT} dims: -1 reshape {{ shape: 1 }} }}", "1:49: [1] has not as many elements"),
        (
            f"output {{ {INPUT} dims: 1 label_filename: '../x' }}",
            "1:49: labels cannot be read from '../x': outside",
        ),
        (
            f"output {{ {INPUT} dims: 1 label_filename: 'none' }}",
            "1:49: labels cannot be read from 'none': No such",
        ),
        ('default_model_filename: "../m.onnx"', "1:1: '../m.onnx': outside the model's folder"),
        ('default_model_filename: "m.plan"', "1:1: 'm.plan': not an .onnx file"),
        (
            "max_batch_size: 4 dynamic_batching { preferred_batch_size: [ 4, 5 ] }",
            "1:65: a preferred batch size is 1 to",
        ),
        ("dynamic_batching { } sequence_batching { }", "1:22: "),
        ("version_policy { specific { } }", "1:18: specific names no versions"),
        ("version_policy { specific { versions: [ 1, 0 ] } }", "1:44: a version is 1 or more, not 0"),
        ("version_policy { all { } latest { } }", "1:26: "),
        ("instance_group { count: -1 }", "1:18: a count is 1 or more, not -1"),
        ("instance_group { count: 65 }", "1:1: a model has 64 instances at most"),
        ("instance_group { gpus: [ 0, -1 ] }", "1:29: a GPU has a number from 0 on"),
        ("instance_group { kind: KIND_CPU gpus: 0 }", "1:33: KIND_CPU has no gpus"),
        ("instance_group { kind: KIND_NOWHERE }", "1:24: "),
        ("sequence_batching { control_input { } }", "1:35: a control input has no name"),
        (
            'sequence_batching { control_input { name: "a" } }',
            "1:35: control input 'a' needs exactly one control",
        ),
        (
            'sequence_batching { control_input { name: "a" control { int32_false_true: 1 } } }',
            "1:55: control input 'a' needs two values",
        ),
        (
            f"{CONTROL} kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_BOOL }} }} }}",
            "1:88: an id is one of",
        ),
        ("sequence_batching { state { } }", "1:27: a state needs input_name and output_name"),
        (
            f"{STATE}data_type: TYPE_INT8 dims: 2 zero_data: true }} }} }}",
            "1:107: the state is FP32",
        ),
        (
            f"{STATE}data_type: TYPE_FP32 dims: 3 zero_data: true }} }} }}",
            "1:128: [3] does not fit the state's [2]",
        ),
        (
            f"{STATE}data_type: TYPE_FP32 dims: 2 data_file: 'x' }} }} }}",
            "1:136: the initial state cannot be made from 'x': No such file",
        ),
        ("max_batch_size: 1 model_warmup { batch_size: 2 }", "1:34: 2 is more than max_batch_size 1"),
        ("model_warmup { }", "1:14: a sample of warm-up input has no inputs"),
        (
            'model_warmup { inputs { key: "a" value { data_type: TYPE_INT8 dims: 1 zero_data: true } }\n'
            ' inputs { key: "b" value { dims: 1 } } }',
            "2:9: an element type is missing",
        ),
        (
            'model_warmup { inputs { key: "b" value { data_type: TYPE_FP32 dims: 1 } } }',
            "1:23: 'b' needs zero_data, random_data or input_data_file",
        ),
        (
            'model_warmup { inputs { key: "b" value { data_type: TYPE_FP32 dims: 1 input_data_file: "../x" } } }',
            "1:23: 'b' cannot be made from '../x': outside the model's folder",
        ),
        (
            'model_warmup { inputs { key: "b" value { data_type: TYPE_FP64 dims: 1099511627776 zero_data: true } } }',
            "1:23: 'b' cannot be made from 8796093022208 bytes",
        ),
    ],
)
def test_what_is_wrong_refuses_the_model_with_file_and_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ModelUnusable) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'config.pbtxt'}:{fault}")


def test_a_file_that_is_too_large_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="cannot be read: larger than 1048576 bytes"):
        read(tmp_path, "#" * (MAX_BYTES + 1))
    file = tmp_path / "config.pbtxt"
    file.write_bytes(b'name: "a"\n# \xff')
    with pytest.raises(ModelUnusable, match=r"config.pbtxt:2:3: not UTF-8"):
        defined(file, unheard)
    file.unlink()
    with pytest.raises(ModelUnusable, match=r"cannot be read: No such file"):
        defined(file, unheard)


def test_a_configuration_that_is_no_regular_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    file = tmp_path / "config.pbtxt"
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(ModelUnusable, match="cannot be read: a link, which is not followed"):
        defined(file, unheard)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ModelUnusable, match="cannot be read: not a regular file"):
        defined(file, unheard)


def test_labels_behind_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = f"output {{ {INPUT} dims: 1 label_filename: 'labels' }}"
    folder = tmp_path / "model"
    configured(folder, text)
    (folder / "labels").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelUnusable, match="a link, which is not followed"):
        read(folder, text)
    (folder / "labels").unlink()
    os.link(tmp_path / "secret", folder / "labels")
    with pytest.raises(ModelUnusable, match="a hard link; copy the file instead"):
        read(folder, text)


@pytest.mark.parametrize(
    ("data", "fault"), [(b"\0" * 7, "7 bytes are not whole elements"), (b"\0" * 12, "3 elements")]
)
def test_data_of_another_size_is_refused(tmp_path: Path, data: bytes, fault: str) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "x").write_bytes(data)
    text = 'model_warmup { inputs { key: "b" value { data_type: TYPE_FP32 dims: 2 input_data_file: "x" } } }'
    with pytest.raises(ModelUnusable, match=fault):
        read(tmp_path, text)


def test_texts_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "x").write_bytes(b"\2\0\0\0hi\\9\0\0\0hi")
    text = (
        'model_warmup { inputs { key: "b" value { data_type: TYPE_STRING dims: 2 input_data_file: "x" } } }'
    )
    with pytest.raises(ModelUnusable, match="element 1 is cut off"):
        read(tmp_path, text)
