import numpy as np
import pytest

from forebay.client.direct import embed_request, generate_request, infer_answer, infer_request
from forebay.inference.v1.inference_service_pb2 import Execution, InferResponse
from forebay.tasks.v1.task_pb2 import CACHE_MODE_ONLY


def test_every_request_says_what_kind_of_work_it_is() -> None:
    x = {"x": np.ones(2, np.float32)}
    requests = (
        infer_request("m", x, (), "normal", "", "chat", "", start=False, end=False),
        embed_request("m", ["a"], None, "normal", "", "chat"),
        generate_request("m", {"prompt": "a"}, "normal", "", "chat"),
    )
    assert [request.kind for request in requests] == ["chat"] * 3


def test_every_request_says_what_it_wants_of_the_cache() -> None:
    x = {"x": np.ones(2, np.float32)}
    requests = (
        infer_request("m", x, (), "normal", "", "", "", start=False, end=False, cache="only"),
        embed_request("m", ["a"], None, "normal", "", "", cache="only"),
        generate_request("m", {"prompt": "a"}, "normal", "", "", cache="only"),
    )
    assert [request.cache for request in requests] == [CACHE_MODE_ONLY] * 3
    with pytest.raises(ValueError, match="cache 'never' is none of default, bypass, refresh, only"):
        embed_request("m", ["a"], None, "normal", "", "", cache="never")


def test_an_answer_says_whether_it_was_cached() -> None:
    cached = infer_answer(InferResponse(execution=Execution(cached=True, sampled=True))).execution
    computed = infer_answer(InferResponse(execution=Execution(runner="r"))).execution
    assert (cached.cached, cached.sampled, cached.runner) == (True, True, "")
    assert (computed.cached, computed.sampled) == (False, False)
