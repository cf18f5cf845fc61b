"""The agent: one on each host. It starts runner processes for its models, watches them, and starts them again when
they die; it loads and unloads models as their folders change and operators say. It never runs a model and never
touches a tensor.
"""
