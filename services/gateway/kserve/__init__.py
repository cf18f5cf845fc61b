"""The KServe v2 door: models over the Open Inference Protocol and Triton's extensions to it, on the port of gRPC.

It translates, nothing else. A request comes in at `servicer.py` (one answer) or `stream.py` (a stream of requests), is
turned into a call by `inference.py`, with `tensor_calls.py`, `language.py` or `embeddings.py` for what kind of model it
is meant for, and goes on in services/gateway/direct/calls.py. What is not about gRPC takes and makes the protocol's own
messages, so that the door over HTTP needs to turn JSON into them and nothing more.
"""

from services.gateway.kserve.inference import Inference
from services.gateway.kserve.servicer import KServeServicer, kserve_service

__all__ = ["Inference", "KServeServicer", "kserve_service"]
