from pathlib import Path

import pytest

from inference.repository.definition import Instances
from inference.repository.folder import read_folder
from inference.repository.instances import Seat, seats_of
from inference.repository.listing import list_models
from scheduler.errors import ModelUnusable
from tests.unit.inference.repository.folders import configured, unheard, versioned
from tests.unit.inference.tensor import onnx_models


def test_a_folder_with_versions_serves_the_highest_one(tmp_path: Path) -> None:
    folder = read_folder(versioned(tmp_path / "m", (1, 10, 9)), unheard)
    assert tuple(folder.versions) == (1, 9, 10)
    assert folder.served == (10,)
    assert folder.version(0) == folder.version(10) == 10
    assert folder.holder(10) == (tmp_path / "m" / "10", "model.onnx")
    assert not folder.definition.declared


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("latest { num_versions: 2 }", (2, 3)),
        ("latest { num_versions: 9 }", (1, 2, 3)),
        ("all { }", (1, 2, 3)),
        ("specific { versions: [ 3, 1, 7 ] }", (1, 3)),
    ],
)
def test_the_version_policy_decides_what_is_served(
    tmp_path: Path, policy: str, served: tuple[int, ...]
) -> None:
    folder = read_folder(versioned(tmp_path / "m", (1, 2, 3), f"version_policy {{ {policy} }}"), unheard)
    assert folder.served == served
    assert folder.version(0) == served[-1]


def test_a_version_that_is_not_there_or_not_served_is_refused(tmp_path: Path) -> None:
    folder = read_folder(versioned(tmp_path / "m", (1, 2)), unheard)
    with pytest.raises(ModelUnusable, match="has no version 3; it has 1, 2"):
        folder.version(3)
    with pytest.raises(ModelUnusable, match=r"version 1 of .* is not served; its version policy serves 2"):
        folder.version(1)


def test_names_that_are_no_plain_numbers_are_no_versions(tmp_path: Path) -> None:
    versioned(tmp_path / "m")
    for name in ("02", "0", "-1", "1a", "٣", "99999999999999999999"):
        (tmp_path / "m" / name).mkdir()
    (tmp_path / "m" / "7").write_text("a file")
    assert tuple(read_folder(tmp_path / "m", unheard).versions) == (1,)


def test_a_version_that_is_a_link_is_refused(tmp_path: Path) -> None:
    versioned(tmp_path / "m")
    (tmp_path / "m" / "2").symlink_to(tmp_path)
    with pytest.raises(ModelUnusable, match="is a link"):
        read_folder(tmp_path / "m", unheard)


@pytest.mark.parametrize("name", ["genai_config.json", "model.onnx", "embed_config.json"])
def test_a_folder_that_is_itself_a_model_has_one_version(tmp_path: Path, name: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / name).write_text("")
    folder = read_folder(tmp_path / "m", unheard)
    assert (folder.name, folder.served, folder.holder(1)) == ("m", (1,), (tmp_path / "m", "model.onnx"))


def test_a_configuration_can_lie_beside_the_model(tmp_path: Path) -> None:
    onnx_models.add(tmp_path / "m" / "model.onnx")
    configured(tmp_path / "m", "max_batch_size: 4")
    folder = read_folder(tmp_path / "m", unheard)
    assert (folder.served, folder.definition.max_batch_size) == ((1,), 4)


def test_an_onnx_file_is_a_model_by_the_name_of_the_file(tmp_path: Path) -> None:
    folder = read_folder(onnx_models.add(tmp_path / "adder.onnx"), unheard)
    assert (folder.name, folder.served, folder.holder(1)) == ("adder", (1,), (tmp_path, "adder.onnx"))


def test_the_file_of_a_version_can_have_another_name_or_be_a_folder(tmp_path: Path) -> None:
    onnx_models.add(tmp_path / "m" / "1" / "net.onnx")
    configured(tmp_path / "m", 'default_model_filename: "net.onnx"')
    assert read_folder(tmp_path / "m", unheard).holder(1) == (tmp_path / "m" / "1", "net.onnx")
    onnx_models.add(tmp_path / "n" / "1" / "model.onnx" / "model.onnx")
    assert read_folder(tmp_path / "n", unheard).holder(1) == (
        tmp_path / "n" / "1" / "model.onnx",
        "model.onnx",
    )


def test_an_ensemble_needs_no_version(tmp_path: Path) -> None:
    configured(
        tmp_path / "e",
        """
        input { name: "a" data_type: TYPE_FP32 dims: 1 } output { name: "b" data_type: TYPE_FP32 dims: 1 }
        ensemble_scheduling { step {
          model_name: "m" input_map { key: "x" value: "a" } output_map { key: "y" value: "b" }
        } }
        """,
    )
    folder = read_folder(tmp_path / "e", unheard)
    assert folder.is_ensemble
    assert folder.served == (1,)


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (None, "it has no model.onnx and no folder of a version"),
        ("", "it has no model.onnx and no folder of a version"),
    ],
)
def test_a_folder_without_a_model_is_refused(tmp_path: Path, config: str | None, fault: str) -> None:
    (tmp_path / "m").mkdir()
    if config is not None:
        configured(tmp_path / "m", config)
    with pytest.raises(ModelUnusable, match=fault):
        read_folder(tmp_path / "m", unheard)


def test_a_policy_that_serves_nothing_is_refused(tmp_path: Path) -> None:
    versioned(tmp_path / "m", (1, 2), "version_policy { specific { versions: 3 } }")
    with pytest.raises(ModelUnusable, match="has no version that its version policy serves; it has 1, 2"):
        read_folder(tmp_path / "m", unheard)
    with pytest.raises(ModelUnusable, match="does not exist"):
        read_folder(tmp_path / "nothing", unheard)


def test_a_repository_lists_its_models_with_versions_faults_and_warnings(tmp_path: Path) -> None:
    versioned(tmp_path / "b", (1, 2), "version_policy { all { } } instance_group { count: 3 } future: 1")
    versioned(tmp_path / "c", (1,), "max_batch_size: x")
    onnx_models.add(tmp_path / "a.onnx")
    onnx_models.add(tmp_path / "b.onnx")
    onnx_models.add(tmp_path / ".hidden" / "model.onnx")
    onnx_models.add(tmp_path / "not a name" / "model.onnx")
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("")
    listed = {each.name: each for each in list_models(tmp_path)}
    assert list(listed) == ["a", "b", "c", "not a name"]
    assert (listed["a"].path, listed["a"].versions) == (tmp_path / "a.onnx", (1,))
    b = listed["b"]
    assert (b.path, b.versions, b.all_versions, b.instances) == (
        tmp_path / "b",
        (1, 2),
        (1, 2),
        (Instances(3),),
    )
    assert b.fault == ""
    assert b.warnings == (
        f"{tmp_path / 'b' / 'config.pbtxt'}:1:56: future is not supported and has no effect",
    )
    assert listed["c"].fault.startswith(f"{tmp_path / 'c' / 'config.pbtxt'}:1:17: ")
    assert listed["c"].versions == ()
    assert "the name of a model" in listed["not a name"].fault


def test_a_repository_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_models(tmp_path / "nothing")


def test_listing_needs_no_onnx_runtime(tmp_path: Path) -> None:
    import subprocess
    import sys

    versioned(tmp_path / "m", (1,), "max_batch_size: 1")
    code = (
        "import sys; from pathlib import Path; from inference.repository.listing import list_models;"
        "print(len(list_models(Path(sys.argv[1]))), 'onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 False\n"


def test_instances_are_seats_for_processes() -> None:
    groups = (Instances(2, "cpu"), Instances(2, "gpu", (0, 1)), Instances(1, "auto"))
    assert seats_of(groups) == (
        Seat(("cpu",)),
        Seat(("cpu",)),
        Seat((), gpu_only=True, device=0),
        Seat((), gpu_only=True, device=0),
        Seat((), gpu_only=True, device=1),
        Seat((), gpu_only=True, device=1),
        Seat(),
    )
