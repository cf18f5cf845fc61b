"""Tracing, metrics, logging, and every telemetry name in one place."""
