"""One scenario against one door; see the package."""

import sys
from typing import Any


def main(door: str, url: str, scenario: str) -> None:
    """Play it."""
    if door == "grpc":
        from tests.triton import over_grpc

        known = {each.__name__: each for each in (*over_grpc.SCENARIOS, *over_grpc.ALONE)}
        opened: Any = over_grpc.OverGrpc(url)
    else:
        from tests.triton import over_http

        known = {each.__name__: each for each in over_http.SCENARIOS}
        opened = over_http.OverHttp(url)
    with opened.client:
        known[scenario](opened)


if __name__ == "__main__":
    main(*sys.argv[1:])
