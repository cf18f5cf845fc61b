"""Who is next: pure functions and counters, without I/O and clocks."""
