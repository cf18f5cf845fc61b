"""The scheduler: a pure domain (states, errors, policies, ports), its adapters, and the service."""
