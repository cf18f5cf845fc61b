"""Fixtures of the conformance suites."""

from collections.abc import AsyncIterator

import pytest

from scheduler.adapters.redis import connect
from tests.conformance.stores import Store, memory_store, redis_store


@pytest.fixture(params=["memory", "valkey"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of the store; empty for the one in memory."""
    return str(request.getfixturevalue("valkey_url")) if request.param == "valkey" else ""


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    """An empty record store: each test runs once in memory and once on a real server."""
    if not store_url:
        yield memory_store()
        return
    client = connect(store_url, timeout_s=5.0)
    try:
        await client.flushall()
        yield redis_store(client)
    finally:
        await client.aclose()
