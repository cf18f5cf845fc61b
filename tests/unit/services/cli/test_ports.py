import os
import socket

import pytest

from scheduler.errors import StartupRefused
from services.cli.up import ports


def test_a_taken_port_is_named_with_its_holder_and_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            StartupRefused, match=rf"port {port} is taken by .*\(pid {os.getpid()}\).*--grpc-port"
        ):
            ports.refuse_taken("127.0.0.1", [(port, "--grpc-port")])
        assert not ports.is_free("127.0.0.1", port)


def test_a_port_that_its_server_would_share_counts_as_taken() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not ports.is_free("127.0.0.1", server.getsockname()[1])


def test_picked_ports_are_free_and_differ(free_ports: list[int]) -> None:
    assert len(set(free_ports)) == 4
    ports.refuse_taken("127.0.0.1", [(port, "--x") for port in free_ports])


def test_picked_ports_are_none_that_the_system_may_give_to_a_connection_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "_for_connections", lambda: (12_000, 64_000))
    assert not [port for port in ports.pick("127.0.0.1", 64) if 12_000 <= port <= 64_000]


def test_the_range_for_connections_is_the_one_from_which_the_system_takes() -> None:
    low, high = ports._for_connections()
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert low <= server.getsockname()[1] <= high


@pytest.mark.parametrize("taken", [(1_024, 65_535), (ports.LOWEST, 65_535)])
def test_where_connections_may_have_every_port_the_system_picks(
    taken: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_for_connections", lambda: taken)
    found = ports.pick("127.0.0.1", 4)
    assert len(set(found)) == 4
    assert all(ports.is_free("127.0.0.1", port) for port in found)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupRefused, match="EADDRNOTAVAIL"):
        ports.refuse_taken("192.0.2.1", [(7070, "--grpc-port")])
