"""The agent: one on each host. It starts a runner process for every model, watches it, and starts it again when it
dies. It never runs a model and never touches a tensor.
"""
