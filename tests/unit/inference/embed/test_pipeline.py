"""The files that say what is done around an encoder: what is read, and what is refused with which sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.embed.config import DEFAULT_LENGTH, EmbedConfig, read_config
from inference.embed.pipeline import Pipeline, Pooling, read_pipeline
from scheduler.errors import ModelUnusable
from tests.reference.tiny_encoders import write_sentence_files


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_a_folder_that_says_nothing_takes_the_mean(tmp_path: Path) -> None:
    assert read_pipeline(tmp_path) == Pipeline(Pooling.MEAN, None)
    write(tmp_path / "embed_config.json", {})
    assert read_config(tmp_path) == EmbedConfig(Pooling.MEAN, DEFAULT_LENGTH)


@pytest.mark.parametrize(
    ("name", "pooling"),
    [("mean_tokens", Pooling.MEAN), ("cls_token", Pooling.CLS), ("max_tokens", Pooling.MAX)],
)
def test_the_files_of_sentence_transformers_are_followed(tmp_path: Path, name: str, pooling: Pooling) -> None:
    write_sentence_files(tmp_path, pooling=name, max_length=77)
    assert read_pipeline(tmp_path) == Pipeline(pooling, 77)
    write(tmp_path / "embed_config.json", {})
    assert read_config(tmp_path) == EmbedConfig(pooling, 77)


def test_the_form_of_newer_files_is_read(tmp_path: Path) -> None:
    write(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "cls"})
    assert read_pipeline(tmp_path).pooling is Pooling.CLS


def test_the_length_of_the_tokenizer_counts_where_no_other_is_told(tmp_path: Path) -> None:
    write(tmp_path / "tokenizer_config.json", {"model_max_length": 384})
    assert read_pipeline(tmp_path).max_length == 384
    write(tmp_path / "tokenizer_config.json", {"model_max_length": 1000000000000000019884624838656})
    assert read_pipeline(tmp_path).max_length is None
    write(tmp_path / "sentence_bert_config.json", {"max_seq_length": None, "do_lower_case": True})
    assert read_pipeline(tmp_path) == Pipeline(Pooling.MEAN, None, lowercase=True)


def test_what_the_configuration_says_counts_more(tmp_path: Path) -> None:
    write_sentence_files(tmp_path)
    write(
        tmp_path / "embed_config.json",
        {"pooling": "max", "max_length": 9, "dimensions": 5, "lowercase": True},
    )
    assert read_config(tmp_path) == EmbedConfig(Pooling.MAX, 9, 5, lowercase=True)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("modules.json", {}, "is not a list of modules"),
        ("modules.json", [], "has the modules none"),
        (
            "modules.json",
            [{"type": "m.Transformer"}, {"type": "m.Pooling", "path": "1_Pooling"}, {"type": "m.Dense"}],
            "Transformer, Pooling, Dense; supported: Transformer, Pooling, Normalize",
        ),
        (
            "modules.json",
            [{"type": "m.Transformer"}, {"type": "m.Pooling", "path": "../x"}],
            "no folder beside it",
        ),
        (
            "modules.json",
            [{"type": "m.Transformer"}, {"type": "m.Pooling", "path": "p"}],
            "does not exist, but",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode_mean_sqrt_len_tokens": True},
            "pools by pooling_mode_mean_sqrt",
        ),
        (
            "1_Pooling/config.json",
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "cls_token and pooling_mode_mean_tokens; supported: one of",
        ),
        ("1_Pooling/config.json", {}, "pools by nothing"),
        ("1_Pooling/config.json", [], "is not a JSON object"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length is 'long'"),
        ("embed_config.json", {"pooling": "sum"}, "pooling is 'sum', expected one of mean, cls, max"),
        ("embed_config.json", {"pooling": []}, r"pooling is \[\]"),
        ("embed_config.json", {"max_length": 0}, "max_length is 0"),
        ("embed_config.json", {"max_length": True}, "max_length is True"),
        ("embed_config.json", {"lowercase": 1}, "lowercase is 1"),
        ("embed_config.json", {"colour": 1}, "'colour' is unknown; known: dimensions"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    tmp_path: Path, name: str, content: Any, sentence: str
) -> None:
    write(tmp_path / "embed_config.json", {})
    write(tmp_path / name, content)
    with pytest.raises(ModelUnusable, match=sentence):
        read_config(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_not_json_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "embed_config.json").write_bytes(content)
    with pytest.raises(ModelUnusable, match=r"embed_config.json is not JSON"):
        read_config(tmp_path)
