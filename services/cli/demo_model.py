"""The demo's model: SmolLM2-135M-Instruct, brought from PyPI and converted once, then found in the cache."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from inference.importers.fetch import DEFAULT_CACHE

MODEL: Final = "smollm2"
CACHE: Final = DEFAULT_CACHE


def model_folder(cache: Path) -> Path:
    """Return where the converted model is kept: another folder for each version of the importer."""
    from inference.importers import IMPORT_VERSION

    return cache / f"{MODEL}-v{IMPORT_VERSION}"


def bring_model(cache: Path, say: Callable[[str, str], None]) -> Path:
    """Return the model's folder in the cache; fetch and convert it when it is not there.

    `say` gets a subject and a sentence. Raises ModelUnusable or ImportRefused.
    """
    from inference.importers import fetch_smollm2, import_model

    def report(text: str) -> None:
        say("model", text)

    folder = model_folder(cache)
    if (folder / "genai_config.json").is_file():
        report(f"SmolLM2-135M-Instruct is in {folder}")
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    report("bringing SmolLM2-135M-Instruct (98 MB, Apache-2.0), for this time only")
    file = fetch_smollm2(cache, report)
    return import_model(file, folder, quantization="int4", report=report)
