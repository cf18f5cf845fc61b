"""Models with named tensors: any ONNX model, requests of equal shape sharing a run."""
