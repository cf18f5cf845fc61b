import numpy as np

from forebay.client.direct import embed_request, generate_request, infer_request


def test_every_request_says_what_kind_of_work_it_is() -> None:
    x = {"x": np.ones(2, np.float32)}
    requests = (
        infer_request("m", x, (), "normal", "", "chat", "", start=False, end=False),
        embed_request("m", ["a"], None, "normal", "", "chat"),
        generate_request("m", {"prompt": "a"}, "normal", "", "chat"),
    )
    assert [request.kind for request in requests] == ["chat"] * 3
