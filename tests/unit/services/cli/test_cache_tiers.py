"""What `forebay up` brings for the result cache."""

from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from services.cli.settings import ServerSettings, UpSettings
from services.cli.up.cache_tiers import DISK_FOLDER, REDIS_URL, cache_settings, embedded_cache, with_disk
from services.cli.up.plan import Addresses, Embedded, RedisAnswers, lay_out

ON = {"FOREBAY_CACHE_ENABLED": "true", "FOREBAY_CACHE_REDIS_BYTES": str(100 << 20)}


def options(command: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(command[1::2], command[2::2], strict=True))


def test_the_cache_gets_a_server_that_is_bounded_evicts_and_keeps_nothing(tmp_path: Path) -> None:
    found = embedded_cache(cache_settings(ON), ON, tmp_path)
    assert found is not None
    given = options(found.command)
    assert given["--unixsocket"] == str(tmp_path / "valkey-cache.sock")
    assert given["--dir"] == str(tmp_path / "valkey-cache")
    assert (tmp_path / "valkey-cache").is_dir()
    assert (given["--appendonly"], given["--save"], given["--maxmemory-policy"]) == ("no", "", "allkeys-lfu")
    # The tier's own quota is met before the server's limit is.
    assert int(given["--maxmemory"]) > 100 << 20
    assert with_disk(cache_settings(ON), ON, tmp_path)[DISK_FOLDER] == str(tmp_path / "cache")


@pytest.mark.parametrize(
    "variables",
    [{}, {**ON, REDIS_URL: "redis://h:1/0", DISK_FOLDER: "/d"}, {**ON, REDIS_URL: "", DISK_FOLDER: ""}],
)
def test_there_is_none_where_settings_say_otherwise(variables: dict[str, str], tmp_path: Path) -> None:
    settings = cache_settings(variables)
    assert embedded_cache(settings, variables, tmp_path) is None
    assert with_disk(settings, variables, tmp_path) == variables
    assert not list(tmp_path.iterdir())


def test_gateway_and_scheduler_are_told_of_it_and_nobody_waits_for_it() -> None:
    valkey, broker = Embedded(("v",), "unix:///x.sock"), Embedded(("p",), "pulsar://127.0.0.1:3")
    plan = lay_out(
        UpSettings(),
        ServerSettings(),
        Addresses("127.0.0.1:7070", "127.0.0.1:7080", "127.0.0.1:1", "127.0.0.1:2"),
        variables=ON,
        redis=valkey,
        broker=broker,
        cache=Embedded(("c",), "unix:///c.sock"),
    )
    by_name = {spec.name: spec for spec in plan.processes}
    assert by_name["valkey-cache"].ready == RedisAnswers("unix:///c.sock")
    for name in ("gateway", "scheduler"):
        assert by_name[name].env[REDIS_URL] == "unix:///c.sock"
    assert not any("valkey-cache" in spec.after for spec in plan.processes)


def test_faults_of_its_settings_are_told_before_anything_starts() -> None:
    with pytest.raises(StartupRefused, match=r"replay is .SLOWLY.*redis_url is .ftp:"):
        cache_settings({**ON, REDIS_URL: "ftp://x", "FOREBAY_CACHE_REPLAY": "SLOWLY"})
