from pathlib import Path

import pytest

from inference.repository.config_reader import define
from inference.repository.configuration import read_configuration
from inference.repository.listing import list_model
from inference.repository.tuning import tuned
from inference.settings import EngineSettings
from scheduler.errors import ModelUnusable
from tests.unit.inference.repository.folders import configured, unheard, versioned

SETTINGS = EngineSettings(threads=3)


def tune(folder: Path, text: str, said: list[str], settings: EngineSettings = SETTINGS) -> EngineSettings:
    return tuned(settings, read_configuration(configured(folder, text), said.append), said.append)


def checked(folder: Path, text: str, said: list[str]) -> None:
    define(read_configuration(configured(folder, text), said.append), said.append)


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def test_without_a_configuration_settings_stay_as_they_are() -> None:
    assert tuned(SETTINGS, None, unheard) is SETTINGS


def test_parameters_change_settings(tmp_path: Path) -> None:
    said: list[str] = []
    text = parameter("intra_op_thread_count", "2") + parameter("gpu_mem_limit", "1000")
    settings = tune(tmp_path, text + parameter("execution_mode", "0"), said)
    assert (settings.threads, settings.gpu_memory_bytes) == (2, 1000)
    assert said == []


def test_parameters_without_effect_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    checked(tmp_path, parameter("execution_mode", "1") + parameter("color", "red"), said)
    file = tmp_path / "config.pbtxt"
    assert sorted(said) == [
        f"{file}:1:12: execution_mode '1' is not supported and has no effect",
        f"{file}:2:12: the parameter 'color' is not known and has no effect",
    ]


def test_a_parameter_that_is_not_known_is_a_warning_of_the_agent_too(tmp_path: Path) -> None:
    folder = versioned(tmp_path / "m", config=parameter("color", "red"))
    [warning] = list_model(folder).warnings
    assert warning == f"{folder / 'config.pbtxt'}:1:12: the parameter 'color' is not known and has no effect"


@pytest.mark.parametrize("value", ["two", "-1", "", "1" * 19, "²"])
def test_a_parameter_that_is_not_a_number_refuses_the_model(tmp_path: Path, value: str) -> None:
    with pytest.raises(ModelUnusable, match=r"config.pbtxt:2:12: intra_op_thread_count is a whole number"):
        checked(tmp_path, "\n" + parameter("intra_op_thread_count", value), [])


def test_a_model_for_the_cpu_runs_on_no_other_provider(tmp_path: Path) -> None:
    assert tune(tmp_path, "instance_group { kind: KIND_CPU }", []).providers == ("cpu",)
    mixed = "instance_group [ { kind: KIND_CPU }, { kind: KIND_GPU } ]"
    assert tune(tmp_path, mixed, []).providers == SETTINGS.providers


def test_a_model_for_gpus_runs_on_no_cpu(tmp_path: Path) -> None:
    gpus = tune(tmp_path, "instance_group [ { kind: KIND_GPU }, { kind: KIND_GPU gpus: [ 1 ] } ]", [])
    assert gpus.gpu_only
    for other in ("", "instance_group { }", "instance_group [ { kind: KIND_GPU }, { kind: KIND_CPU } ]"):
        assert not tune(tmp_path, other, []).gpu_only


def test_tensorrt_takes_a_precision(tmp_path: Path) -> None:
    text = """optimization { execution_accelerators {
      gpu_execution_accelerator: [ {
        name: "tensorrt"
        parameters { key: "precision_mode" value: "FP16" }
        parameters { key: "max_workspace_size_bytes" value: "1" }
      }, { name: "other" } ]
      cpu_execution_accelerator { name: "openvino" }
    } }"""
    said: list[str] = []
    assert tune(tmp_path, text, said).tensorrt_fp16
    assert [each.rpartition("pbtxt:")[2] for each in said] == [
        "2:36: max_workspace_size_bytes '1' of TensorRT is not supported and has no effect",
        "6:10: the accelerator 'other' is not supported and has no effect",
        "7:33: the accelerator 'openvino' is not supported and has no effect",
    ]
    said.clear()
    assert not tune(tmp_path, text, said, EngineSettings(providers=("cpu",))).tensorrt_fp16
    assert "the accelerator 'tensorrt' is not one of the providers in use" in said[0]
