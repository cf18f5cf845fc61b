"""The KServe v2 door over HTTP: the same calls as over gRPC, under /v2 of the gateway's HTTP port.

A request comes in at `routes.py`, through `guard.py`, to `door.py` or `generate.py`. Its body is read by `bodies.py`
and becomes the protocol's message in `infer_request.py`; from there on it goes the way of `services/gateway/kserve`,
and its answer becomes a body in `infer_response.py`. What there is, and what it takes, is data in `operations.py`.
"""

from services.gateway.kserve_http.routes import kserve_http

__all__ = ["kserve_http"]
