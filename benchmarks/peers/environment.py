"""Python environments of the peers: not the project's, for a peer must not decide which versions the project has."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class PeerEnvironment:
    """An environment that is made in the cache the first time it is wanted."""

    name: str
    """Begins the name of its folder."""
    packages: tuple[str, ...]
    """Installed one after the other: one that cannot be had is reported, and the others are there."""
    variable: str
    """Names a Python that has the packages, instead of the one made here."""
    interpreter: str = sys.executable
    """What the environment is made from."""
    build: Mapping[str, str] = field(default_factory=dict)
    """Variables for what is compiled."""


GENERATION: Final = PeerEnvironment(
    "peers",
    (
        # What comes first takes minutes: it is compiled, for this very processor.
        "llama-cpp-python==0.3.36",
        "onnxruntime-genai==0.18.0",
        "onnxruntime==1.31.1",
    ),
    "FOREBAY_BENCH_PEERS_PYTHON",
    build={"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF"},
)
MLSERVER: Final = PeerEnvironment(
    "mlserver", ("mlserver==1.7.1", "onnxruntime==1.31.1"), "FOREBAY_BENCH_MLSERVER_PYTHON"
)
PYTRITON: Final = PeerEnvironment(
    "pytriton",
    ("nvidia-pytriton==0.7.0", "onnxruntime==1.31.1"),
    "FOREBAY_BENCH_PYTRITON_PYTHON",
    # What embeds Python in it was built for the system's.
    interpreter="/usr/bin/python3",
)


def peers_python(cache: Path, say: Callable[[str], None], environment: PeerEnvironment = GENERATION) -> Path:
    """Return the Python of an environment; makes it under `cache` when it is not there.

    A package that cannot be installed is reported and left out. Raises OSError and CalledProcessError when not even an
    empty environment can be made.
    """
    if named := os.environ.get(environment.variable):
        return Path(named)
    folder = cache / f"{environment.name}-{sys.implementation.cache_tag}"
    python = folder / "bin" / "python"
    if not python.is_file():
        say(f"making an environment for peers in {folder}")
        subprocess.run([environment.interpreter, "-m", "venv", str(folder)], check=True)
    for package in environment.packages:
        stamp = folder / f".{package}"
        if stamp.is_file():
            continue
        say(f"installing {package}; what is compiled takes some minutes, this time only")
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]
        log = folder / f"{package}.log"
        with log.open("w") as output:
            done = subprocess.run(
                command, env={**os.environ, **environment.build}, stdout=output, stderr=output, check=False
            )
        if done.returncode:
            say(f"{package} could not be installed; {log} says why")
        else:
            stamp.touch()
    return python
