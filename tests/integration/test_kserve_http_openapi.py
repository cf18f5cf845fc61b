"""The document of the HTTP door says what there is, and what comes is as it says: tried by schemathesis."""

import asyncio
from importlib.metadata import version
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.gateway.kserve_http.openapi import document
from tests.integration.kserve_http_door import GENERATE, TENSOR, door_to, of_kind
from tests.integration.test_kserve_http import whole

EXAMPLES = 12
"""Of each call, tried once as they are and once with a model that is there."""
CHECKS = [
    *(not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance),
]
PATHS = {(method, path) for path, methods in document("1")["paths"].items() for method in methods}


async def test_the_document_and_the_page_are_served() -> None:
    async with door_to() as door:
        assert await door.get("/openapi.json") == (200, document(version("forebay")))
        async with door.session.get(door.url("/docs")) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            text = await response.text()
    assert all(path in text for _, path in PATHS)


@pytest.mark.timeout(60)  # the first one waits for the schemas to be compiled
@pytest.mark.parametrize(("method", "path"), sorted(PATHS))
async def test_what_comes_is_as_the_document_says(method: str, path: str) -> None:
    runners = of_kind(TENSOR, version=1), of_kind(GENERATE, model="text", answer=whole)
    async with door_to(*runners) as door:
        # The client is no asynchronous one.
        await asyncio.to_thread(exercise, f"http://{door.address}", method, path)


def exercise(url: str, method: str, path: str) -> None:
    schema: Any = schemathesis.openapi.from_dict(document("1"))
    operation = schema[path][method.upper()]
    model = "text" if "generate" in path else "m"

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=CHECKS)
        if "model" in case.path_parameters:
            case.path_parameters["model"] = model
            if "version" in case.path_parameters:
                case.path_parameters["version"] = "1"
            case.call_and_validate(base_url=url, checks=CHECKS)

    run()
