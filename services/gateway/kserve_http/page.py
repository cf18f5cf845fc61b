"""The document of OpenAPI as one page for people: no scripts, nothing from elsewhere."""

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1d2733 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f3f5f8; padding: .75rem; overflow: auto; border-radius: 4px }
details { border: 1px solid #d5dbe3; border-radius: 4px; margin: .4rem 0; padding: .4rem .75rem }
summary { cursor: pointer }
.method { display: inline-block; width: 3.5rem; font-weight: 600 } .get { color: #0b6bcb } .post { color: #1a7f37 }
table { border-collapse: collapse } td { padding: .1rem .8rem .1rem 0; vertical-align: top }
@media (prefers-color-scheme: dark) {
  body { background: #12171d; color: #dde4ec } pre { background: #1c232c } details { border-color: #36414e }
}
"""
SECURITY_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""Content-Security-Policy of the page."""


def page(document: Mapping[str, Any]) -> str:
    """Return it as HTML."""
    title = escape(document["info"]["title"])
    calls = "".join(
        _call(method, path, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    )
    schemas = "".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_json(schema)}</details>'
        for name, schema in document["components"]["schemas"].items()
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>Version {escape(document['info']['version'])}. "
        'The same as a document of OpenAPI: <a href="/openapi.json">/openapi.json</a>.</p>'
        f"<h2>Calls</h2>{calls}<h2>Bodies</h2>{schemas}</body></html>"
    )


def _call(method: str, path: str, call: Mapping[str, Any]) -> str:
    answers = "".join(
        f"<tr><td><code>{escape(code)}</code></td><td>{escape(answer['description'])} {_content(answer)}</td></tr>"
        for code, answer in call["responses"].items()
    )
    body = call.get("requestBody")
    asked = f"<p>Body: {_content(body)}</p>" if body else ""
    return (
        f'<details><summary><span class="method {method}">{method.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(call['summary'])}</summary>{asked}<table>{answers}</table></details>"
    )


def _content(holder: Mapping[str, Any]) -> str:
    return ", ".join(
        f"<code>{escape(media)}</code> {_schema(content['schema'])}"
        for media, content in holder.get("content", {}).items()
    )


def _schema(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    return escape(schema.get("description", ""))


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2))}</pre>"
