"""Measurements. Not tests: each prints the machine, its command, and the ratio to a peer measured beside it."""
