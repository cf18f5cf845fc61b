from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.generate import GenerateEngine
from inference.generate.session import DecoderSession
from inference.importers import import_model
from tests.reference.tiny_llama import write_tiny_llama

from .tiny import CONTEXT, opened, quiet


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llama(tmp_path_factory.mktemp("gguf") / "tiny.gguf", context=CONTEXT)


@pytest.fixture(scope="session")
def folder(gguf_file: Path) -> Path:
    return import_model(gguf_file, gguf_file.parent / "model", quantization="none", report=quiet)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many slots each decode run of any engine goes over, in order."""
    sizes: list[int] = []
    decode = DecoderSession.decode

    def watched(self: DecoderSession, tokens: Any, held: Any) -> Any:
        sizes.append(len(tokens))
        return decode(self, tokens, held)

    monkeypatch.setattr(DecoderSession, "decode", watched)
    return sizes


@pytest.fixture
def engine(folder: Path) -> Iterator[GenerateEngine]:
    engine = opened(folder)
    yield engine
    engine.close()
