"""`forebay models import` and `fetch`, which need no server."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from scheduler.errors import ImportRefused, ModelUnusable
from services.cli.__main__ import cli
from tests.reference.tiny_decoders import tiny_config, tiny_weights, write_folder, write_gguf


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_and_a_folder_are_both_taken(tmp_path: Path, kind: str) -> None:
    config = tiny_config("llama")
    write = {"file": write_gguf, "folder": write_folder}[kind]
    source = write(tmp_path / "m.gguf", config, tiny_weights(config))  # type: ignore[operator]
    arguments = ["models", "import", str(source), "--name", "tiny", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    folder = tmp_path / "out" / "tiny"
    assert f"forebay up --model tiny={folder}" in result.output
    assert (folder / "genai_config.json").is_file()


def test_a_model_for_gpus_is_asked_for_by_its_precision(tmp_path: Path) -> None:
    config = tiny_config("llama")
    source = write_folder(tmp_path / "m", config, tiny_weights(config))
    arguments = ["models", "import", str(source), "--name", "tiny", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*arguments, "--precision", "float16"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "int4, computed with in float16" in result.output
    assert '"cuda"' in (tmp_path / "out" / "tiny" / "genai_config.json").read_text()


def test_what_cannot_be_converted_is_said_in_a_sentence(tmp_path: Path) -> None:
    arguments = ["models", "import", str(tmp_path), "--name", "tiny", "--out", str(tmp_path / "out")]
    with pytest.raises(ImportRefused, match=r"has no file config.json"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_gemma_is_not_fetched_without_a_word_about_its_terms() -> None:
    with pytest.raises(ModelUnusable, match="terms of its own"):
        CliRunner().invoke(cli, ["models", "fetch", "gemma3-270m"], catch_exceptions=False)
