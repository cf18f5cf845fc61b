from pathlib import Path

import pytest

from scheduler.errors import StartupRefused
from services.gateway.settings import GatewaySettings


@pytest.mark.parametrize("listen", ["127.0.0.1:7070", "127.8.0.1:0", "localhost:7070", "[::1]:7070"])
def test_a_gateway_for_this_machine_alone_needs_no_secret(listen: str) -> None:
    GatewaySettings(listen=listen).check()


@pytest.mark.parametrize("listen", ["0.0.0.0:7070", "[::]:7070", "10.0.0.1:7070", "gateway:7070", ":7070"])
def test_a_gateway_that_others_reach_needs_a_secret(listen: str) -> None:
    with pytest.raises(StartupRefused, match="FOREBAY_GATEWAY_SECRET"):
        GatewaySettings(listen=listen).check()
    GatewaySettings(listen=listen, secret="s").check()


def test_a_gateway_that_others_reach_is_open_to_strangers_unless_it_asks_for_keys() -> None:
    assert GatewaySettings(listen="0.0.0.0:7070").open_to_strangers
    assert GatewaySettings(http_listen="0.0.0.0:7080").open_to_strangers
    assert not GatewaySettings(listen="0.0.0.0:7070", api_keys_file=Path("keys")).open_to_strangers
    assert not GatewaySettings(listen="127.0.0.1:7070").open_to_strangers


def test_a_secret_is_not_part_of_what_settings_say_of_themselves() -> None:
    assert "canary" not in repr(GatewaySettings(secret="canary"))
