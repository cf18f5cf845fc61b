"""The page that Prometheus reads, and a small server for processes that have no other HTTP port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_CLOSE_S: Final = 1.0


def page(registry: CollectorRegistry) -> tuple[bytes, str]:
    """Return the page and its content type. Takes about a millisecond."""
    return generate_latest(registry), CONTENT_TYPE_LATEST


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, listen: str) -> AsyncIterator[str]:
    """Serve `/metrics` on host:port while the block lasts; yields the real host:port (port 0: a free one).

    Raises OSError when the address cannot be taken.
    """
    from aiohttp import web  # a third of a second to load, and not every user of the metrics serves them

    async def metrics(_: web.Request) -> web.Response:
        body, content_type = page(registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_S)
    await runner.setup()
    try:
        host, _, port = listen.rpartition(":")
        site = web.TCPSite(runner, host.strip("[]") or "127.0.0.1", int(port))
        await site.start()
        address = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        yield f"{shown}:{address[1]}"
    finally:
        await runner.cleanup()
