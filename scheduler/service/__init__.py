"""The scheduler's process: drains lanes into a window, leases, assigns to runners, settles messages, sweeps."""
