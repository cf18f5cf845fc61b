"""The gateway's HTTP port: /metrics for Prometheus, /healthz (alive) and /readyz (takes calls) for probes, and what
doors add to it.

/metrics/targets tells Prometheus (`http_sd_configs`) where the pages of schedulers and runners are.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry

from observability.metrics import page
from scheduler.errors import RecordsUnavailable, StartupRefused
from services.gateway.fleet_metrics import FleetMetrics
from services.status import http_code


def application(
    registry: CollectorRegistry,
    ready: Callable[[], bool],
    fleet: FleetMetrics,
    doors: Sequence[Callable[[web.Application], None]] = (),
) -> web.Application:
    """Return the routes; each of `doors` adds its own."""

    async def targets(_: web.Request) -> web.Response:
        try:
            return web.Response(text=await fleet.targets(), content_type="application/json")
        except RecordsUnavailable as error:
            return web.Response(text=f"{error}\n", status=http_code(error))

    async def metrics(_: web.Request) -> web.Response:
        await fleet.refresh()
        body, content_type = page(registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ready\n") if ready() else web.Response(text="not ready\n", status=503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/metrics/targets", targets)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    for add in doors:
        add(app)
    return app


@asynccontextmanager
async def http_server(listen: str, app: web.Application, *, grace_s: float) -> AsyncIterator[str]:
    """Serve on `host:port` (port 0: any free one) while the block lasts; yields the real host:port.

    A client that goes away cancels its call; bodies reach handlers as they came, compressed or not. Leaving the block
    lets calls end within `grace_s`. Raises StartupRefused when the address cannot be had.
    """
    host, _, port = listen.rpartition(":")
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=grace_s, handler_cancellation=True, auto_decompress=False
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, int(port)).start()
        except (OSError, ValueError):
            raise StartupRefused(
                f"cannot listen on {listen}: the port is taken or the address is not of this machine"
            ) from None
        yield f"{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
