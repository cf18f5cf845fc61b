"""Model folders in Triton's layout: what they hold, and what their configuration says."""
