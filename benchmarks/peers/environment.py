"""The Python environment of the peers: not the project's, for a peer must not decide which versions the project has."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    # What comes first takes minutes: it is compiled, for this very processor.
    "llama-cpp-python==0.3.36",
    "onnxruntime-genai==0.18.0",
    "onnxruntime==1.31.1",
)
BUILD: Final = {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF"}
VARIABLE: Final = "FOREBAY_BENCH_PEERS_PYTHON"
"""Names a Python that has the packages, instead of the one made here."""


def peers_python(cache: Path, say: Callable[[str], None]) -> Path:
    """Return the Python of the peers; makes the environment under `cache` when it is not there.

    A package that cannot be installed is reported and left out. Raises OSError and CalledProcessError when not even an
    empty environment can be made.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named)
    folder = cache / f"peers-{sys.implementation.cache_tag}"
    python = folder / "bin" / "python"
    if not python.is_file():
        say(f"making an environment for the peers in {folder}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for package in PACKAGES:
        stamp = folder / f".{package}"
        if stamp.is_file():
            continue
        say(f"installing {package}; what is compiled takes some minutes, this time only")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        log = folder / f"{package}.log"
        with log.open("w") as output:
            done = subprocess.run(
                command, env={**os.environ, **BUILD}, stdout=output, stderr=output, check=False
            )
        if done.returncode:
            say(f"{package} could not be installed; {log} says why")
        else:
            stamp.touch()
    return python
