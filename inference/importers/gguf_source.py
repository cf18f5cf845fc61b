"""A language model in a GGUF file; its tokenizer is built from the file's metadata."""

import json
from pathlib import Path

from inference.importers.gguf import GgufFile
from inference.importers.gguf_architecture import gguf_naming, gguf_shape
from inference.importers.source import SpecialTokens
from inference.importers.token_lists import end_tokens
from inference.importers.tokenizer import build_tokenizer, chat_template, tokenizer_config
from inference.importers.weights import DecoderWeights


class GgufSource:
    """See ModelSource."""

    def __init__(self, path: Path) -> None:
        """Open and check the file, its tokenizer included. Raises ImportRefused."""
        self._file = GgufFile(path)
        self.name = path.name
        self.shape = gguf_shape(self._file)
        self._tokenizer = build_tokenizer(self._file)
        self.special = SpecialTokens(
            begin=self._file.optional("tokenizer.ggml.bos_token_id"),
            ends=end_tokens(self._file),
            padding=self._file.optional("tokenizer.ggml.padding_token_id"),
        )

    def weights(self) -> DecoderWeights:
        """See ModelSource."""
        return DecoderWeights(self._file, gguf_naming(self.shape), self.shape)

    def write_tokenizer(self, folder: Path) -> None:
        """See ModelSource."""
        self._tokenizer.save(str(folder / "tokenizer.json"))
        config = tokenizer_config(self._file, self.shape.context)
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
        template = chat_template(self._file)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
