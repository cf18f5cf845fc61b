"""Executing models: the agent, the runners it supervises, the engines inside them, and importers of model files."""
