"""Fixtures of this folder."""

from collections.abc import AsyncIterator

import pytest

from tests.integration.gateway import System, running


@pytest.fixture
async def system() -> AsyncIterator[System]:
    async with running() as started:
        yield started
