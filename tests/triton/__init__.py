"""What Triton's own clients do, unchanged from PyPI, over gRPC and over HTTP.

    python -m tests.triton grpc|http HOST:PORT SCENARIO

A program of its own: the generated code of the client over gRPC has the names of ours. It ends with a traceback when
something is not as it must be. `scenarios.py` has what both clients do, `over_grpc.py` and `over_http.py` how each does
it and what it does alone.
"""
