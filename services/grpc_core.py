"""Which of gRPC's two ways of reading and writing a server process uses.

gRPC reads sockets by its event engine, on threads of that engine, and hands what came to the thread that polls for
Python, which wakes the event loop. Without it the polling thread reads sockets by itself: one change of threads less
for each message, which is a seventh of what a call costs a gateway (measured with grpcio 1.85 on two cores). Nothing
else changes. What gRPC is told by GRPC_EXPERIMENTS already stands; a gRPC that does not know these names says so on
standard error, and goes on without.
"""

import os
from collections.abc import MutableMapping
from typing import Final

VARIABLE: Final = "GRPC_EXPERIMENTS"
WITHOUT_ENGINE: Final = "-event_engine_listener,-event_engine_client,-event_engine_for_all_other_endpoints"


def read_on_the_polling_thread(environ: MutableMapping[str, str] = os.environ) -> None:
    """Choose it for this process and those that inherit its environment, unless the environment says otherwise.

    gRPC reads it when it is imported: so everything that imports gRPC comes after.
    """
    environ.setdefault(VARIABLE, WITHOUT_ENGINE)
