"""What is done around an encoder, as the files of a sentence-transformers folder say it.

`modules.json` lists the steps: Transformer, Pooling, Normalize. `1_Pooling/config.json` says how the vectors of tokens
become one, `sentence_bert_config.json` (or `tokenizer_config.json`) how many tokens are read. Whether vectors are
scaled to length 1 is each request's to say, so Normalize changes nothing here. A folder without any of these files is a
plain encoder: the mean of its tokens.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from scheduler.errors import ModelUnusable

MODULES: Final = "modules.json"
POOLING: Final = "1_Pooling"
_SENTENCES: Final = "sentence_bert_config.json"
_LENGTHS: Final = ((_SENTENCES, "max_seq_length"), ("tokenizer_config.json", "model_max_length"))
_MOST_JSON_BYTES: Final = 16_000_000


class Pooling(StrEnum):
    """How the vectors of tokens become the vector of a text."""

    MEAN = "mean"
    CLS = "cls"
    """That of the first token."""
    MAX = "max"


_MODES: Final = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_max_tokens": Pooling.MAX,
}


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What is done before and after the model."""

    pooling: Pooling
    max_length: int | None
    """Most tokens of a text, those that mark beginning and end included; None where no file says so."""
    lowercase: bool = False
    """Whether texts are read in lower case, whatever the tokenizer does."""


def read_pipeline(folder: Path) -> Pipeline:
    """Read the files of a folder. Raises ModelUnusable with the file and what of it is not supported."""
    pooling = POOLING
    modules = folder / MODULES
    if modules.is_file():
        pooling = _pooling_folder(modules)
    sentences = folder / _SENTENCES
    lowercase = sentences.is_file() and bool(read_object(sentences).get("do_lower_case"))
    return Pipeline(_pooling(folder, pooling), _max_length(folder), lowercase)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ModelUnusable."""
    content = _read(path)
    if not isinstance(content, dict):
        raise ModelUnusable(f"{path} is not a JSON object")
    return content


def _pooling_folder(modules: Path) -> str:
    """Return the name of the folder that describes the pooling, once it is sure that nothing else is done."""
    content = _read(modules)
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise ModelUnusable(f"{modules} is not a list of modules")
    kinds = [str(one.get("type", "")).rpartition(".")[2] for one in content]
    if kinds[:2] != ["Transformer", "Pooling"] or set(kinds[2:]) - {"Normalize"}:
        raise ModelUnusable(
            f"{modules} has the modules {', '.join(kinds) or 'none'}; supported: Transformer, Pooling, Normalize"
        )
    name = content[1].get("path")
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise ModelUnusable(f"{modules}: the pooling is in {name!r}, which is no folder beside it")
    return name


def _pooling(folder: Path, name: str) -> Pooling:
    path = folder / name / "config.json"
    if not path.is_file():
        if name == POOLING and not (folder / MODULES).is_file():
            return Pooling.MEAN
        raise ModelUnusable(f"{path} does not exist, but {MODULES} names it")
    content = read_object(path)
    named = content.get("pooling_mode")
    chosen = (
        [str(named)]
        if named
        else [key for key, on in content.items() if key.startswith("pooling_mode_") and on]
    )
    modes = {**_MODES, **{mode.value: mode for mode in Pooling}}
    if len(chosen) != 1 or chosen[0] not in modes:
        raise ModelUnusable(
            f"{path} pools by {' and '.join(chosen) or 'nothing'}; supported: one of {', '.join(_MODES)}"
        )
    return modes[chosen[0]]


def _max_length(folder: Path) -> int | None:
    for name, key in _LENGTHS:
        path = folder / name
        if not path.is_file():
            continue
        value = read_object(path).get(key)
        if value is None:
            continue
        # Tokenizers without a limit say a number with 30 digits.
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 1:
            raise ModelUnusable(f"{path}: {key} is {value!r}, must be a whole number over 0")
        if value < 1 << 30:
            return int(value)
    return None


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ModelUnusable(f"{path} is larger than {_MOST_JSON_BYTES} bytes")
        content: object = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelUnusable(f"{path} cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        raise ModelUnusable(f"{path} is not JSON")
    return content
