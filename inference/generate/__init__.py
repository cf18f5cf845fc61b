"""The generate engine: language models in the onnxruntime-genai folder format, many rows at once."""

from inference.generate.engine import GenerateEngine

__all__ = ["GenerateEngine"]
