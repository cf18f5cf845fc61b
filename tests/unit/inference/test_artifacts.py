import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from inference.artifacts import digest, external_files, inspect
from inference.engine import EngineKind
from scheduler.errors import ModelUnusable
from tests.unit.inference.tensor import onnx_models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx_models.add(tmp_path / "model" / "model.onnx")
    (tmp_path / "model" / "labels.txt").write_text("a\nb\n")
    (tmp_path / "model" / ".hidden").write_text("not the model's")
    return tmp_path / "model"


def with_weights(folder: Path, location: str = "weights.bin", *, nested: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.bin").write_bytes(b"\0" * 16)
    return onnx_models.with_external_weights(folder / "m.onnx", location, nested=nested)


def test_an_onnx_file_is_a_tensor_model_of_one_file(folder: Path) -> None:
    artifact = inspect(folder / "model.onnx")
    assert artifact.kind is EngineKind.TENSOR
    assert artifact.model == folder / "model.onnx"
    assert artifact.files == (folder / "model.onnx",)


def test_a_folder_with_model_onnx_is_a_tensor_model_of_all_its_files(folder: Path) -> None:
    artifact = inspect(folder)
    assert artifact.kind is EngineKind.TENSOR
    assert [file.name for file in artifact.files] == ["labels.txt", "model.onnx"]


def test_a_folder_with_genai_config_is_a_language_model(folder: Path) -> None:
    (folder / "genai_config.json").write_text('{"model": {"decoder": {"filename": "decoder/text.onnx"}}}')
    onnx_models.add(folder / "decoder" / "text.onnx")
    artifact = inspect(folder)
    assert artifact.kind is EngineKind.GENERATE
    assert artifact.model == folder / "decoder" / "text.onnx"


@pytest.mark.parametrize("config", ["{}", '{"model": {"type": "llama"}}'])
def test_genai_config_without_a_file_name_means_model_onnx(folder: Path, config: str) -> None:
    (folder / "genai_config.json").write_text(config)
    assert inspect(folder).model == folder / "model.onnx"


@pytest.mark.parametrize("name", ['"../other.onnx"', '"/etc/passwd"', "7", '""'])
def test_genai_config_that_names_a_file_elsewhere_is_refused(folder: Path, name: str) -> None:
    (folder / "genai_config.json").write_text(f'{{"model": {{"decoder": {{"filename": {name}}}}}}}')
    with pytest.raises(ModelUnusable, match="must be a file in the folder"):
        inspect(folder)


def test_genai_config_that_is_not_json_is_refused(folder: Path) -> None:
    (folder / "genai_config.json").write_text("{")
    with pytest.raises(ModelUnusable, match=r"genai_config.json cannot be read"):
        inspect(folder)


def test_paths_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="does not exist"):
        inspect(tmp_path / "nothing")
    with pytest.raises(ModelUnusable, match=r"it has no model.onnx"):
        inspect(tmp_path)
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(ModelUnusable, match=r"expected an .onnx file or a folder with model.onnx"):
        inspect(tmp_path / "model.txt")


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty"),
        (b"hello, this is no model", "is not an ONNX model"),
        (b"\x00" * 100, "is not an ONNX model"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "is not an ONNX model"),
        (b"\x3a\x7f", "a field is longer than the message around it"),
        (b"\x08", "is not an ONNX model"),
    ],
)
def test_what_is_not_onnx_inside_is_refused(content: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelUnusable, match=cause):
        inspect(path)


def test_graphs_nested_without_end_are_refused(tmp_path: Path) -> None:
    graph = b""
    for _ in range(200):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            length = len(graph)
            graph = tag + bytes([length & 0x7F | 0x80, length >> 7]) + graph
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x3a" + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7]) + graph)
    with pytest.raises(ModelUnusable, match="nested too deeply"):
        inspect(path)


@pytest.mark.parametrize("nested", [False, True])
def test_weights_beside_the_model_belong_to_it(tmp_path: Path, nested: bool) -> None:
    model = with_weights(tmp_path, nested=nested)
    assert inspect(model).files == (tmp_path / "m.onnx", tmp_path / "weights.bin")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("../secret.bin", "outside the model's folder"),
        ("sub/../../secret.bin", "outside the model's folder"),
        ("/etc/passwd", "an absolute path"),
        ("C:\\secret.bin", "not a POSIX path"),
        ("*/_ORT_MEM_ADDR_/*", "No such file"),
        ("missing.bin", "No such file"),
        (".", "not a regular file"),
        ("\0", "not a file name"),
    ],
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str, cause: str, nested: bool) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    with pytest.raises(ModelUnusable, match=cause):
        inspect(with_weights(tmp_path / "model", location, nested=nested))


def test_weights_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    model = with_weights(tmp_path / "model", "link.bin")
    link = tmp_path / "model" / "link.bin"
    link.symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelUnusable, match="a link, which is not followed"):
        inspect(model)
    link.unlink()
    os.link(tmp_path / "secret.bin", link)
    with pytest.raises(ModelUnusable, match="a hard link; copy the file instead"):
        inspect(model)


def test_weights_in_a_folder_that_is_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(b"\0" * 16)
    model = with_weights(tmp_path / "model", "sub/w.bin")
    (tmp_path / "model" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelUnusable, match="a link, which is not followed"):
        external_files(model)


def test_links_in_a_folder_are_refused(folder: Path) -> None:
    (folder / "tokenizer.json").symlink_to("/etc/passwd")
    with pytest.raises(ModelUnusable, match=r"tokenizer.json is a link or a special file"):
        inspect(folder)


def test_precompiled_code_is_refused(tmp_path: Path) -> None:
    from onnx import helper

    path = onnx_models.save(
        tmp_path / "m.onnx",
        [helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../x")],
        [onnx_models.value("x", [1])],
        [onnx_models.value("y", [1])],
    )
    with pytest.raises(ModelUnusable, match="precompiled code"):
        inspect(path)


def test_the_digest_of_one_file_is_that_of_sha256sum(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    assert digest(inspect(folder / "model.onnx")) == hashlib.sha256(content).hexdigest()


def test_the_digest_of_a_folder_is_that_of_the_listing_of_sha256sum(folder: Path) -> None:
    listing = subprocess.run(
        ["sha256sum", "labels.txt", "model.onnx"], cwd=folder, check=True, capture_output=True
    ).stdout
    assert digest(inspect(folder)) == hashlib.sha256(listing).hexdigest()


def test_the_digest_does_not_depend_on_where_the_folder_is(folder: Path, tmp_path: Path) -> None:
    before = digest(inspect(folder))
    folder.rename(tmp_path / "moved")
    assert digest(inspect(tmp_path / "moved")) == before


def test_a_kept_digest_is_used_until_a_file_changes(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = digest(inspect(folder), cache)
    [kept] = (cache / "digests").iterdir()
    entry = json.loads(kept.read_bytes())
    kept.write_text(json.dumps(entry | {"sha256": "kept"}))
    assert digest(inspect(folder), cache) == "kept"
    (folder / "labels.txt").write_text("c\nd\n")
    changed = digest(inspect(folder), cache)
    assert changed not in (first, "kept")
    kept.write_text("damaged")
    assert digest(inspect(folder), cache) == changed


def test_a_cache_that_cannot_be_written_is_no_fault(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert digest(inspect(folder), tmp_path / "cache") == digest(inspect(folder))


def test_the_wide_form_of_a_language_model_is_checked_as_the_model_is(folder: Path, tmp_path: Path) -> None:
    (folder / "genai_config.json").write_text("{}")
    onnx_models.add(folder / "wide.onnx")
    assert folder / "wide.onnx" in inspect(folder).files
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    onnx_models.with_external_weights(folder / "wide.onnx", "../secret.bin")
    with pytest.raises(ModelUnusable, match="outside the model's folder"):
        inspect(folder)
