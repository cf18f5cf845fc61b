from html.parser import HTMLParser
from typing import Any

from aiohttp import web

from services.gateway.caller import single_tenant
from services.gateway.kserve_http import kserve_http
from services.gateway.kserve_http.openapi import document
from services.gateway.kserve_http.operations import OPERATIONS, UNSUPPORTED
from services.gateway.kserve_http.page import page
from services.gateway.kserve_http.schemas import SCHEMAS


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_what_is_routed_is_what_the_document_says_and_what_is_refused() -> None:
    app = web.Application()
    nothing: Any = None
    kserve_http(nothing, nothing, single_tenant("t"), lambda *_: None, max_bytes=1, deadline_s=1.0)(app)
    routed = {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }
    described = {(method, path) for path, methods in document("1")["paths"].items() for method in methods}
    refused = {(each.method.lower(), path) for each in UNSUPPORTED for path in each.paths}
    assert not described & refused
    assert routed == described | refused | {("get", "/docs"), ("get", "/openapi.json")}


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    assert references(document("1")) == {f"#/components/schemas/{name}" for name in SCHEMAS}


def test_operations_have_names_of_their_own() -> None:
    names = [call["operationId"] for methods in document("1")["paths"].values() for call in methods.values()]
    assert len(set(names)) == len(names) == sum(len(each.paths) for each in OPERATIONS)
    assert len({each.id for each in (*OPERATIONS, *UNSUPPORTED)}) == len(OPERATIONS) + len(UNSUPPORTED)


def test_the_page_is_whole_and_needs_nothing_from_elsewhere() -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.links: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "link", "img", "iframe")
            self.links += [value or "" for name, value in attrs if name in ("href", "src")]
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    reader = Reader()
    reader.feed(page(document("1<2")))
    assert not reader.open
    assert {link[:1] for link in reader.links} == {"#", "/"}
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(SCHEMAS)
