import pytest

from services.cli.up import ports


@pytest.fixture
def free_ports() -> list[int]:
    return ports.pick("127.0.0.1", 4)
