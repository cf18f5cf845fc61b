"""Slow and plain implementations that fast ones are compared with."""
