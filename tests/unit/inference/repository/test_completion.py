from pathlib import Path

from forebay.compat.kserve import model_config_pb2 as pb
from inference.engine import EngineKind, ModelCard, Signature
from inference.repository.completion import config_for
from inference.repository.folder import read_folder
from tests.unit.inference.repository.folders import unheard, versioned

CARD = ModelCard(
    EngineKind.TENSOR,
    "digest",
    "CPUExecutionProvider",
    (Signature("x", "FP32", (-1, 4)), Signature("t", "BYTES", (-1,))),
    (Signature("z", "INT64", (-1, 2, -1)),),
)


def complete(folder: Path, card: ModelCard = CARD, together: int = 1) -> pb.ModelConfig:
    return pb.ModelConfig.FromString(config_for(read_folder(folder, unheard), card, together=together))


def test_without_a_configuration_everything_is_found(tmp_path: Path) -> None:
    config = complete(versioned(tmp_path / "m"), together=32)
    assert (config.name, config.platform, config.backend) == ("m", "onnxruntime_onnx", "onnxruntime")
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("x", pb.TYPE_FP32, [4]),
        ("t", pb.TYPE_STRING, []),
    ]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [
        ("z", pb.TYPE_INT64, [2, -1])
    ]
    assert config.version_policy.latest.num_versions == 1
    assert config.default_model_filename == "model.onnx"
    [group] = config.instance_group
    assert (group.name, group.count, group.kind) == ("m_0", 1, pb.ModelInstanceGroup.KIND_CPU)


def test_a_model_that_does_not_batch_has_complete_shapes(tmp_path: Path) -> None:
    config = complete(versioned(tmp_path / "m"))
    assert config.max_batch_size == 0
    assert list(config.input[0].dims) == [-1, 4]
    assert config.WhichOneof("scheduling_choice") is None


def test_what_a_configuration_says_stays_and_the_rest_is_filled_in(tmp_path: Path) -> None:
    text = """
    max_batch_size: 8
    output { name: "z" data_type: TYPE_INT64 dims: [ 2, 3 ] }
    instance_group { count: 2 kind: KIND_GPU }
    parameters { key: "p" value { string_value: "v" } }
    """
    card = ModelCard(
        EngineKind.TENSOR,
        "d",
        "CUDAExecutionProvider",
        (Signature("x", "FP16", (4,)),),
        CARD.outputs,
        max_batch_size=8,
    )
    config = complete(versioned(tmp_path / "m", (1,), text), card, together=8)
    assert config.max_batch_size == 8
    assert not config.HasField("dynamic_batching")
    assert list(config.output[0].dims) == [2, 3]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("x", pb.TYPE_FP16, [4])
    ]
    assert (config.instance_group[0].name, config.instance_group[0].count) == ("m_0", 2)
    assert config.parameters["p"].string_value == "v"


def test_a_model_that_generates_is_decoupled(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "genai_config.json").write_text("{}")
    config = complete(tmp_path / "m", ModelCard(EngineKind.GENERATE, "d", "CPUExecutionProvider"))
    assert config.model_transaction_policy.decoupled
    assert config.platform == ""
