"""How the embedded record store is started."""

from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from services.embedded import valkey


def test_it_listens_on_its_socket_only_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    line = valkey.command(tmp_path, Path("/run/v.sock"))
    options = dict(zip(line[1::2], line[2::2], strict=True))
    assert Path(line[0]).name == "valkey-server"
    assert options["--port"] == "0"
    assert (options["--unixsocket"], options["--unixsocketperm"]) == ("/run/v.sock", "700")
    assert (options["--appendonly"], options["--maxmemory-policy"]) == ("yes", "noeviction")
    assert options["--dir"] == str(tmp_path)


def test_a_socket_path_that_no_socket_can_have_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="longer than 103 bytes"):
        valkey.command(tmp_path, Path("/" + "x" * 120))


def test_its_address_survives_odd_characters() -> None:
    assert valkey.address(Path("/run/a b/v.sock")) == "unix:///run/a%20b/v.sock"


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(StartupRefused, match="did not answer"):
        await valkey.wait_ready(tmp_path / "v.sock", 0.05)
