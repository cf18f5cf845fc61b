"""The peer: Celery on Valkey, with the same one-node ONNX model in its workers."""

import os

import numpy as np
import onnxruntime
from celery import Celery

URL = os.environ.get("BENCH_CELERY_URL", "redis://127.0.0.1:6379/0")
MODEL = os.environ.get("BENCH_CELERY_MODEL", "")

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(
    task_serializer="json",
    result_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=64,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
)
_session: onnxruntime.InferenceSession | None = None


@app.task(name="add")  # type: ignore[untyped-decorator]  # Celery has no types
def add(x: list[float]) -> list[float]:
    """Run the model on one row."""
    global _session
    if _session is None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        _session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    (y,) = _session.run(None, {"x": np.array([x], np.float32)})
    return [float(value) for value in y[0]]
