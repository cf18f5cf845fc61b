import os
from pathlib import Path

import pytest

from inference.vetted_copy import FOLDER, vetted_copy
from scheduler.errors import ModelUnusable
from tests.unit.inference.tensor import onnx_models


def with_weights(folder: Path, location: str = "weights.bin") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(b"\1" * 16)
    return onnx_models.with_external_weights(folder / "m.onnx", location)


def test_a_model_and_its_weights_are_copied_to_a_folder_of_this_process_alone(tmp_path: Path) -> None:
    model = with_weights(tmp_path / "model")
    with vetted_copy(model, tmp_path / "cache") as copy:
        assert copy.parent.parent == tmp_path / "cache" / FOLDER
        assert copy.parent.stat().st_mode & 0o777 == 0o700
        assert copy.read_bytes() == model.read_bytes()
        assert (copy.parent / "weights.bin").read_bytes() == b"\1" * 16
    assert list((tmp_path / "cache" / FOLDER).iterdir()) == []


def test_weights_in_folders_keep_their_place(tmp_path: Path) -> None:
    model = with_weights(tmp_path / "model", "a/b/w.bin")
    (tmp_path / "model" / "a" / "b").mkdir(parents=True)
    (tmp_path / "model" / "a" / "b" / "w.bin").write_bytes(b"\2" * 16)
    with vetted_copy(model, None) as copy:
        assert (copy.parent / "a" / "b" / "w.bin").read_bytes() == b"\2" * 16
        assert not (copy.parent / "weights.bin").exists()
    assert not copy.parent.exists()


@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("../secret.bin", "outside the model's folder"),
        ("/etc/passwd", "an absolute path"),
        ("missing.bin", "No such file"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("link.bin", "Too many levels of symbolic links"),
        ("hard.bin", "a hard link; copy the file instead"),
        ("folder/secret.bin", "Not a directory|Too many levels of symbolic links"),
    ],
)
def test_what_is_not_a_file_of_the_folder_is_not_copied(tmp_path: Path, location: str, cause: str) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    model = with_weights(tmp_path / "model", location)
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    (tmp_path / "model" / "folder").symlink_to(tmp_path)
    os.link(tmp_path / "secret.bin", tmp_path / "model" / "hard.bin")
    os.mkfifo(tmp_path / "model" / "pipe")
    with pytest.raises(ModelUnusable, match=cause), vetted_copy(model, tmp_path / "cache"):
        raise AssertionError("it was opened")
    assert list((tmp_path / "cache" / FOLDER).iterdir()) == []


def test_a_file_that_is_swapped_after_it_was_copied_is_not_what_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\7" * 16)
    model = with_weights(tmp_path / "model")
    with vetted_copy(model, tmp_path / "cache") as copy:
        (tmp_path / "model" / "weights.bin").unlink()
        (tmp_path / "model" / "weights.bin").symlink_to(tmp_path / "secret.bin")
        assert (copy.parent / "weights.bin").read_bytes() == b"\1" * 16


def test_a_model_that_is_a_link_is_refused(tmp_path: Path) -> None:
    with_weights(tmp_path / "real")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "m.onnx").symlink_to(tmp_path / "real" / "m.onnx")
    with (
        pytest.raises(ModelUnusable, match="symbolic links"),
        vetted_copy(tmp_path / "model" / "m.onnx", None),
    ):
        raise AssertionError("it was opened")


def test_what_a_process_that_died_left_behind_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    left = tmp_path / "cache" / FOLDER / "model-left"
    left.mkdir(parents=True)
    (left / "m.onnx").write_bytes(b"")
    model = with_weights(tmp_path / "model")
    with vetted_copy(model, tmp_path / "cache") as first:
        assert not left.exists()
        with vetted_copy(model, tmp_path / "cache") as second:
            assert first.is_file()
            assert second.is_file()


def test_a_cache_that_cannot_be_written_refuses_the_model(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with (
        pytest.raises(ModelUnusable, match="no folder can be made"),
        vetted_copy(with_weights(tmp_path / "model"), tmp_path / "cache"),
    ):
        raise AssertionError("it was opened")
