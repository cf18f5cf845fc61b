"""What of a repository came, changed and went."""

import os
import shutil
from pathlib import Path

from inference.agent.catalogue import Catalogue
from inference.agent.folders import SETTLED_S, Folders
from inference.agent.stamps import stamp_of


def model(folder: Path, version: int = 1, text: str = "x") -> Path:
    file = folder / str(version) / "model.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return folder


def folders(repository: Path, **named: Path) -> Folders:
    found = Folders(Catalogue(named, repository))
    found.first()
    return found


def test_the_first_look_finds_named_models_and_those_of_the_repository_of_which_named_ones_hide_others(
    tmp_path: Path,
) -> None:
    model(tmp_path / "versioned", 3)
    (tmp_path / "chat").mkdir()
    (tmp_path / "chat" / "genai_config.json").touch()
    for name in ("single.onnx", "hidden.onnx", "list.txt", "bad name.onnx", ".secret.onnx"):
        (tmp_path / name).touch()
    found = Folders(Catalogue({"hidden": Path("/nowhere")}, tmp_path)).first()
    assert list(found) == ["bad name", "chat", "hidden", "single", "versioned"]
    assert "letters" in found["bad name"].fault
    assert found["hidden"].path == Path("/nowhere") and "does not exist" in found["hidden"].fault
    assert (found["versioned"].versions, found["versioned"].plain) == ((3,), False)
    assert found["single"].plain and found["chat"].plain


def test_what_does_not_change_is_told_once(tmp_path: Path) -> None:
    model(tmp_path / "m")
    found = folders(tmp_path)
    assert found.look(0.0) == found.look(10.0) == {}


def test_a_change_is_told_once_it_has_settled(tmp_path: Path) -> None:
    model(tmp_path / "m")
    found = folders(tmp_path)
    model(tmp_path / "m", 2)
    assert found.look(5.0) == {}
    assert found.look(5.0 + SETTLED_S - 0.1) == {}
    model(tmp_path / "m", 2, "longer")
    assert found.look(5.0 + SETTLED_S) == {}
    changes = found.look(5.0 + 2 * SETTLED_S)
    assert [(name, listed.all_versions) for name, listed in changes.items() if listed] == [("m", (1, 2))]
    assert found.look(100.0) == {}


def test_models_that_come_and_go_are_told(tmp_path: Path) -> None:
    model(tmp_path / "old")
    found = folders(tmp_path)
    shutil.rmtree(tmp_path / "old")
    model(tmp_path / "new")
    assert found.look(0.0) == {}
    changes = found.look(SETTLED_S)
    assert changes["old"] is None
    assert changes["new"] is not None and changes["new"].versions == (1,)


def test_a_folder_that_is_exchanged_is_changed_and_not_gone(tmp_path: Path) -> None:
    model(tmp_path / "m")
    found = folders(tmp_path)
    shutil.rmtree(tmp_path / "m")
    assert found.look(0.0) == {}
    model(tmp_path / "m", 1, "y")
    assert found.look(SETTLED_S) == {}
    assert found.look(2 * SETTLED_S)["m"] is not None


def test_a_change_of_a_member_changes_the_ensemble_too(tmp_path: Path) -> None:
    model(tmp_path / "inner")
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "config.pbtxt").write_text(
        'input [ { name: "a" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
        'output [ { name: "b" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
        'ensemble_scheduling { step [ { model_name: "inner" model_version: -1\n'
        '  input_map { key: "x" value: "a" } output_map { key: "y" value: "b" } } ] }\n'
    )
    found = folders(tmp_path)
    assert found.look(0.0) == {}
    model(tmp_path / "inner", 2)
    found.look(1.0)
    changes = found.look(1.0 + SETTLED_S)
    assert sorted(changes) == ["inner", "outer"]


def test_a_model_is_read_at_once_when_it_is_asked_for_and_not_told_again(tmp_path: Path) -> None:
    found = folders(tmp_path, named=model(tmp_path / "elsewhere" / "m"))
    model(tmp_path / "m")
    listed = found.read("m")
    assert listed is not None and listed.versions == (1,)
    assert found.look(0.0) == found.look(10.0) == {}
    named = found.read("named")
    assert named is not None and named.name == "named"
    assert found.read("other") is None


def test_a_configuration_with_a_fault_is_told_with_its_place(tmp_path: Path) -> None:
    model(tmp_path / "m")
    found = folders(tmp_path)
    (tmp_path / "m" / "config.pbtxt").write_text("max_batch_size: -3\n")
    found.look(0.0)
    changed = found.look(SETTLED_S)["m"]
    assert changed is not None and "config.pbtxt:1" in changed.fault


def test_a_stamp_tells_contents_that_changed_and_not_that_they_were_read(tmp_path: Path) -> None:
    file = model(tmp_path / "m") / "1" / "model.onnx"
    before = stamp_of(tmp_path / "m")
    file.read_text()
    (tmp_path / "m" / ".editor").touch()
    assert stamp_of(tmp_path / "m") == before
    os.utime(file, ns=(0, 0))
    assert stamp_of(tmp_path / "m") != before
    assert stamp_of(file)[0][1:3] == (1, 0)
    assert stamp_of(tmp_path / "none") == ()
