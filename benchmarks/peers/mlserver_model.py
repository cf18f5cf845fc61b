"""The peer MLServer: its runtime for the model, ONNX Runtime with one thread. Run by the Python of the peer."""

import numpy as np
import onnxruntime
from mlserver import MLModel  # type: ignore[import-not-found]  # lives in the environment of the peer
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]


class Mlp(MLModel):  # type: ignore[misc]  # as above
    """One model of one input and one output; MLServer's own batcher is in front of it."""

    async def load(self) -> bool:
        """Open the model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run a batch."""
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        (answer,) = self._session.run(None, {"input": rows})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", answer)])
