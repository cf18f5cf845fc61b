"""One suite per port, run against memory and against every real adapter."""
