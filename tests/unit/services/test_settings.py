from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from services.settings import load, ranged


@dataclass(frozen=True, slots=True)
class Example:
    """Settings of a test."""

    name: str = "n"
    count: int = ranged(3, minimum=1, maximum=9)
    rate: float = 1.5
    on: bool = False
    folder: Path = Path("/data")
    pools: tuple[str, ...] = ("default",)
    limit: int | None = 7

    def __post_init__(self) -> None:
        if self.name == "forbidden":
            raise ValueError("name must not be forbidden")


@dataclass(frozen=True, slots=True)
class Demanding:
    """Settings with one that has no default."""

    url: str


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "forebay.toml"
    file.write_text(text)
    return file


def test_defaults_hold_when_nothing_is_given() -> None:
    assert load(Example, section="example", file=None, environ={}) == Example()


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[example]\nname = "file"\ncount = 2\nrate = 2\n')
    environ = {"FOREBAY_EXAMPLE_NAME": "environment", "FOREBAY_EXAMPLE_COUNT": "4"}
    loaded = load(
        Example, section="example", file=file, environ=environ, overrides={"name": "flag", "count": None}
    )
    assert (loaded.name, loaded.count, loaded.rate) == ("flag", 4, 2.0)


def test_every_type_can_be_written_as_text() -> None:
    environ = {
        "FOREBAY_EXAMPLE_ON": "Yes",
        "FOREBAY_EXAMPLE_FOLDER": "/tmp/x",
        "FOREBAY_EXAMPLE_POOLS": "a, b,",
        "FOREBAY_EXAMPLE_LIMIT": "",
        "FOREBAY_EXAMPLE_RATE": "0.5",
    }
    loaded = load(Example, section="example", file=None, environ=environ)
    assert loaded == Example(on=True, folder=Path("/tmp/x"), pools=("a", "b"), limit=None, rate=0.5)


def test_every_type_can_be_written_in_a_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[example]\non = true\nfolder = "/tmp/x"\npools = ["a", "b"]\nlimit = 5\n')
    loaded = load(Example, section="example", file=file, environ={})
    assert loaded == Example(on=True, folder=Path("/tmp/x"), pools=("a", "b"), limit=5)


def test_all_faults_of_all_sources_are_reported_together(tmp_path: Path) -> None:
    file = write(tmp_path, '[example]\non = "perhaps"\nnmae = "x"\npools = [1]\n')
    environ = {"FOREBAY_EXAMPLE_COUNT": "many", "FOREBAY_EXAMPLE_RATE": "nan"}
    with pytest.raises(StartupRefused) as refused:
        load(Example, section="example", file=file, environ=environ, overrides={"limit": "x"})
    for part in ("on", "nmae", "pools", "FOREBAY_EXAMPLE_COUNT", "FOREBAY_EXAMPLE_RATE", "--limit"):
        assert part in str(refused.value)


@pytest.mark.parametrize("count", ["0", "10"])
def test_a_number_out_of_its_range_is_refused(count: str) -> None:
    with pytest.raises(StartupRefused, match="between 1 and 9"):
        load(Example, section="example", file=None, environ={"FOREBAY_EXAMPLE_COUNT": count})


def test_a_setting_without_default_must_be_given() -> None:
    with pytest.raises(StartupRefused, match="FOREBAY_DEMANDING_URL: required"):
        load(Demanding, section="demanding", file=None, environ={})


def test_a_class_may_refuse_a_combination() -> None:
    with pytest.raises(StartupRefused, match="must not be forbidden"):
        load(Example, section="example", file=None, environ={"FOREBAY_EXAMPLE_NAME": "forbidden"})


@pytest.mark.parametrize("text", ["not toml", "example = 3"])
def test_a_file_that_cannot_be_used_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartupRefused, match=r"forebay\.toml"):
        load(Example, section="example", file=write(tmp_path, text), environ={})


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="No such file"):
        load(Example, section="example", file=tmp_path / "none.toml", environ={})
