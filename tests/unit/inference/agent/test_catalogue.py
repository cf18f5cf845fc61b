"""Which models a host serves."""

from pathlib import Path

import pytest

from inference.agent.catalogue import read_catalogue
from scheduler.errors import StartupRefused


def test_named_models_are_served_whether_or_not_their_path_is_good() -> None:
    assert read_catalogue(["b=/nowhere", "a=/models/a=b"], None) == {
        "a": Path("/models/a=b"),
        "b": Path("/nowhere"),
    }


def test_a_repository_gives_its_model_folders_and_onnx_files_and_nothing_else(tmp_path: Path) -> None:
    for folder, file in (("chat", "genai_config.json"), ("tensor", "model.onnx"), ("notes", "readme.txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).touch()
    (tmp_path / "single.onnx").touch()
    (tmp_path / "list.txt").touch()
    (tmp_path / "bad name.onnx").touch()
    assert read_catalogue([], tmp_path) == {
        "chat": tmp_path / "chat",
        "single": tmp_path / "single.onnx",
        "tensor": tmp_path / "tensor",
    }


def test_a_named_model_hides_one_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    assert read_catalogue(["m=/other"], tmp_path) == {"m": Path("/other")}


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused) as refused:
        read_catalogue(["no path", "=x", "a=1", "a=2", "b d=3"], tmp_path / "missing")
    text = str(refused.value)
    assert all(part in text for part in ("'no path'", "'=x'", "'a' is named twice", "'b d=3'", "missing"))
