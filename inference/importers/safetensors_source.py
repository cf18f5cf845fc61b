"""A language model in a Hugging Face folder; its tokenizer files are taken over as they are."""

import shutil
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from inference.importers.huggingface_architecture import huggingface_naming, huggingface_shape
from inference.importers.safetensors_folder import SafetensorsFolder, inside, read_json
from inference.importers.source import SpecialTokens
from inference.importers.weights import DecoderWeights
from scheduler.errors import ImportRefused

_TOKENIZER: Final = "tokenizer.json"
_OPTIONAL_FILES: Final = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
_LARGEST_FILE_BYTES: Final = 256_000_000


class SafetensorsSource:
    """See ModelSource."""

    def __init__(self, folder: Path) -> None:
        """Open and check the folder, its tokenizer included. Raises ImportRefused."""
        # `resolve` gives a folder such as `.` its name.
        self._folder = folder.resolve()
        self.name = self._folder.name
        config = read_json(self._folder, "config.json")
        self.shape = huggingface_shape(config, f"{self.name}/config.json")
        self._tensors = SafetensorsFolder(self._folder)
        self._files = self._tokenizer_files()
        self.special = self._special_tokens(config)

    def weights(self) -> DecoderWeights:
        """See ModelSource."""
        return DecoderWeights(self._tensors, huggingface_naming(self.shape), self.shape)

    def write_tokenizer(self, folder: Path) -> None:
        """See ModelSource."""
        for file in self._files:
            shutil.copyfile(file, folder / file.name)
        template = self._optional("chat_template.json").get("chat_template")
        if isinstance(template, str) and not (folder / "chat_template.jinja").exists():
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")

    def _tokenizer_files(self) -> list[Path]:
        there = [name for name in _OPTIONAL_FILES if (self._folder / name).exists()]
        if not (self._folder / _TOKENIZER).exists() and (self._folder / "tokenizer.model").exists():
            raise ImportRefused(
                f"{self.name} has a tokenizer.model only; supported: {_TOKENIZER}, which `save_pretrained` of a "
                "fast tokenizer writes"
            )
        files = [inside(self._folder, name) for name in (_TOKENIZER, *there)]
        for file in files:
            if file.stat().st_size > _LARGEST_FILE_BYTES:
                raise ImportRefused(f"{file} is larger than {_LARGEST_FILE_BYTES} bytes")
        return files

    def _special_tokens(self, config: dict[str, Any]) -> SpecialTokens:
        """Collect what ends an answer from every file that says so: they often differ for chat models."""
        path = self._folder / _TOKENIZER
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises bare Exception
            raise ImportRefused(f"{path} cannot be used: {error}")
        generation, marker = self._optional("generation_config.json"), self._optional("tokenizer_config.json")
        name = marker.get("eos_token")
        name = name.get("content") if isinstance(name, dict) else name
        ends = [*_ids(generation, "eos_token_id"), *_ids(config, "eos_token_id")]
        if isinstance(name, str) and (index := tokenizer.token_to_id(name)) is not None:
            ends.append(index)
        if not ends:
            raise ImportRefused(f"{self.name} does not say which token ends an answer (eos_token_id)")
        return SpecialTokens(
            begin=next(iter(_ids(config, "bos_token_id")), None),
            ends=tuple(dict.fromkeys(ends)),
            padding=next(iter(_ids(config, "pad_token_id")), None),
        )

    def _optional(self, name: str) -> dict[str, Any]:
        return read_json(self._folder, name) if (self._folder / name).exists() else {}


def _ids(config: dict[str, Any], key: str) -> list[int]:
    """Return a setting that is one id, several, or nothing. Ids below 0 mean none."""
    value = config.get(key)
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool) and one >= 0]
